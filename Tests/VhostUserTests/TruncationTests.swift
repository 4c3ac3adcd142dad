import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

// In processes of their own: a bus error that is not caught is the end of one.
@Suite struct TruncationTests {
  @Test func `Memory that is cut off reads as zeros, and is broken`() async {
    await #expect(processExitsWith: .success) {
      let size = 8 << 12
      let file = Descriptor(owning: CLinux_memfd_create_sealable("cut"))
      _ = ftruncate(file.rawValue, size)
      let region = MemoryRegion(guest: 0, size: UInt64(size), user: 0, fileOffset: 0)
      let memory = try GuestMemory(regions: [region], descriptors: [file.rawValue])
      let bytes = [UInt8](repeating: 7, count: size)
      #expect(bytes.withUnsafeBytes { memory.write($0, at: 0) })
      #expect(!memory.isBroken)
      let faults = CLinux_guard_faults()
      _ = ftruncate(file.rawValue, 2 << 12)
      var back = [UInt8](repeating: 9, count: size)
      #expect(back.withUnsafeMutableBytes { memory.read(at: 0, into: $0) })
      #expect(back == [UInt8](repeating: 7, count: 2 << 12) + [UInt8](repeating: 0, count: 6 << 12))
      #expect(memory.isBroken && CLinux_guard_faults() == faults + 6)
    }
  }

  @Test func `A bus error elsewhere has its usual consequences`() async {
    await #expect(processExitsWith: .failure) {
      let file = try makeSealedMemory(named: "guarded", count: 4096)
      let region = MemoryRegion(guest: 0, size: 4096, user: 0, fileOffset: 0)
      let memory = try GuestMemory(regions: [region], descriptors: [file.rawValue])
      #expect(!memory.isEmpty)
      let other = Descriptor(owning: CLinux_memfd_create_sealable("other"))
      _ = ftruncate(other.rawValue, 4096)
      let mapping = try Mapping(sharing: other, count: 4096)
      _ = ftruncate(other.rawValue, 0)
      mapping.base.storeBytes(of: 1, as: UInt8.self)
    }
  }

  @Test func `A guest that cuts its memory off loses its session, and nobody else theirs`() async {
    await #expect(processExitsWith: .success) {
      for layout in Layout.allCases {
        for isElsewhere in [false, true] {
          let device = TestDevice()
          let home = ThreadedHome()
          if isElsewhere { device.home = home }
          let memory = try MockMemory(sealed: false)
          let rig = try Rig(inBand: false, device: device, layout: layout, memory: memory)
          let other = try Rig(inBand: false, layout: layout)
          try rig.driver.handshake()
          try other.driver.handshake()
          _ = try rig.submitRead()
          rig.queue.publish()
          _ = ftruncate(memory.descriptor.rawValue, 0)
          try rig.driver.kick(rig.queue)
          try eventually {
            try rig.loop.runOnce(timeout: 1)
            return rig.device.reason != nil
          }
          let reason = "the front-end truncated memory that it shares with us"
          #expect(rig.device.reason == .some(reason))
          #expect(rig.lines.all == ["session ended: \(reason)"])
          _ = try other.submitRead()
          try other.driver.publishAndKick(other.queue)
          try other.settle()
          #expect(other.queue.takeAll().count == 1 && other.device.reason == nil)
          home.end()
        }
      }
    }
  }
}
