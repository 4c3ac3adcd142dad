// Every engine, in every way to reach a file, against arrays of bytes.
import Glibc
import Simulation
import Testing

@testable import BlockIO

@Suite("Engines with a queue") struct QueuedEngineTests {
  @Test(
    "do what an array does, one operation at a time, wherever the memory and the bytes are",
    arguments: EngineKind.allCases, Access.allCases)
  func model(kind: EngineKind, access: Access) throws {
    for mischief in [nil, 7] as [UInt64?] {
      var random = RandomStream(seed: mischief ?? 1, name: "queued")
      var model = random.bytes(30_011)
      let temporary = TemporaryFile(model, folder: Access.folder)
      let file = try access.open(temporary)
      let rig = try EngineRig(kind, mischief: mischief)
      for _ in 0..<200 {
        let unit = [1, 1, 512, 4096][random.below(4)]
        let offset = random.below(50_000) / unit * unit
        let count = random.below(12_000) / unit * unit
        let misalignment = [0, 0, 1, 512, 100][random.below(5)]
        let lengths = [[.max], [512], [4096, 512], [1, 0, 700, 33], [random.below(5000) + 1]][random.below(5)]
        switch random.below(8) {
        case 0..<3:
          let memory = Memory(count: count, misalignment: misalignment)
          #expect(try rig.perform(.read, file, at: UInt64(offset), memory, parts: lengths) == 0)
          let end = min(model.count, offset + count)
          let expected = offset < end ? Array(model[offset..<end]) : []
          #expect(memory.bytes == expected + [UInt8](repeating: 0, count: count - expected.count))
          #expect(memory.isIntact)
        case 3..<6:
          let bytes = random.bytes(count)
          let memory = Memory(bytes, misalignment: misalignment)
          #expect(try rig.perform(.write, file, at: UInt64(offset), memory, parts: lengths) == 0)
          #expect(memory.bytes == bytes && memory.isIntact)
          guard count > 0 else { continue }
          model += [UInt8](repeating: 0, count: max(0, offset + count - model.count))
          model.replaceSubrange(offset..<offset + count, with: bytes)
        case 6: #expect(try rig.perform(.synchronize, file) == 0)
        default:
          let operation: IOOperation.Kind = random.below(2) == 0 ? .zero : .zeroAndUnmap
          #expect(try rig.perform(operation, file, at: UInt64(offset), count: UInt64(count)) == 0)
          for index in offset..<max(offset, min(offset + count, model.count)) { model[index] = 0 }
        }
        #expect(try file.status().size == model.count)
      }
      #expect(try SynchronousEngine().get(model.count, file, at: 0, parts: [.max]) == model)
    }
  }
}
