// Any text as the log of a run's faults.
import BlockDevice
import BlockIO
import CLinux
import DiskImage
import Glibc
import Simulation

private let size: UInt64 = 64 << 10

/// One fault of each kind in the log, by that name: a disk without a power cut has no cache.
private func plan(_ log: [FaultRecord]) -> FaultPlan {
  FaultPlan(
    FaultKind.allCases.filter { kind in log.contains { $0.kind == kind } }.map {
      var fault = Fault($0)
      fault.trigger.at = SimulationTime(nanoseconds: 1_000_000)
      return fault
    })
}

/// The whole input is the log. What is understood is written as it was read, and then happens to a disk.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFaults(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  guard let log = try? FaultRecord.parse(log: text) else { return 0 }
  for record in log {
    guard let again = try? FaultRecord(parsing: record.line), again.line == record.line else {
      fatalError("'\(record.line)' is not read as it was written")
    }
  }
  let plan = plan(log)
  guard let replay = try? FaultReplay(log, disk: "d", plan: plan) else { return 0 }
  let descriptor = CLinux_memfd_create_sealable("disk")
  guard descriptor >= 0, ftruncate(descriptor, off_t(size)) == 0 else { fatalError("no memory") }
  defer { close(descriptor) }
  do {
    let image = try openImage(
      path: "/proc/self/fd/\(descriptor)", options: ImageOptions(format: .raw, lock: false),
      registry: FileRegistry())
    let disk = try FaultyDisk(plan, name: "d", image: image, seed: 1, replay: replay)
    use(disk)
    try disk.close(at: SimulationTime(nanoseconds: 1_000_000_000))
  } catch {
    fatalError("\(error)")
  }
  return 0
}

/// Two dozen requests, a microsecond apart; each is complete when it is half done with the next one.
private func use(_ disk: FaultyDisk) {
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 8)
  defer { buffer.deallocate() }
  buffer.initializeMemory(as: UInt8.self, repeating: 7)
  let operations = BlockRequest.Operation.allCases
  for sequence in UInt64(0)..<24 {
    let now = SimulationTime(nanoseconds: sequence * 1000)
    let operation = operations[Int(sequence) % operations.count]
    let length: UInt64 = operation == .flush ? 0 : 512 << (sequence % 5)
    let request = BlockRequest(
      operation: operation, offset: operation == .flush ? 0 : sequence * 2048, length: length,
      mayUnmap: sequence % 2 == 0, tag: sequence)
    let moves = operation == .read || operation == .write
    var part = iovec(iov_base: buffer.baseAddress, iov_len: moves ? Int(length) : 0)
    _ = disk.pass(to: now)
    let verdict = withUnsafePointer(to: &part) {
      disk.take(
        request, data: UnsafeBufferPointer(start: $0, count: 1), sequence: sequence, at: now,
        isForced: sequence % 7 == 0)
    }
    _ = disk.stall(at: now, request: sequence)
    if verdict.isHung { disk.attach() }
    _ = disk.complete(request, sequence: sequence, status: verdict.status, isForced: sequence % 7 == 0)
  }
}
