import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

@Suite final class GuestMemoryTests {
  let file: Descriptor

  init() throws { file = try makeSealedMemory(named: "regions", count: 64 << 10) }

  private func make(_ regions: MemoryRegion...) throws -> GuestMemory {
    try GuestMemory(regions: regions, descriptors: regions.map { _ in file.rawValue })
  }

  private func region(
    _ guest: UInt64, _ size: UInt64 = 4096, user: UInt64? = nil, offset: UInt64 = 0
  ) -> MemoryRegion {
    MemoryRegion(guest: guest, size: size, user: user ?? guest, fileOffset: offset)
  }

  @Test func `A region longer than its file is refused`() throws {
    _ = try make(region(0, 64 << 10))
    _ = try make(region(0, 4096, offset: 60 << 10))
    #expect(throws: VhostUserError.regionPastFile(guest: 0, end: (64 << 10) + 1, file: 64 << 10)) {
      try make(region(0, (64 << 10) + 1))
    }
    #expect(throws: VhostUserError.self) { try make(region(0, 4096, offset: (60 << 10) + 1)) }
    #expect(throws: VhostUserError.self) { try make(region(0, 1 << 62, offset: 1 << 62)) }
  }

  @Test func `Empty regions and regions that wrap are refused`() throws {
    #expect(throws: VhostUserError.emptyRegion(guest: 5)) { try make(region(5, 0)) }
    #expect(throws: VhostUserError.regionWraps(guest: .max - 4094)) { try make(region(.max - 4094, user: 0)) }
    #expect(throws: VhostUserError.regionWraps(guest: 0)) { try make(region(0, user: .max - 4094)) }
    #expect(throws: VhostUserError.regionWraps(guest: 0)) { try make(region(0, 4096, offset: .max - 10)) }
    // The very last bytes of the address space are a region like any other.
    let memory = try make(region(.max - 4095))
    #expect(memory.piece(at: .max, count: 2)?.count == 1)
    #expect(memory.piece(at: 0, count: 1) == nil)
    var two: UInt16 = 0
    #expect(!withUnsafeMutableBytes(of: &two) { memory.read(at: .max, into: $0) })
  }

  @Test func `Regions that overlap for the guest or for the front-end are refused`() throws {
    _ = try make(region(0), region(4096))
    #expect(throws: VhostUserError.regionsOverlap(guest: 4095)) {
      try make(region(0), region(4095, user: 1 << 20))
    }
    #expect(throws: VhostUserError.regionsOverlap(guest: 1 << 20)) {
      try make(region(0), region(1 << 20, user: 100))
    }
    #expect(throws: VhostUserError.regionsOverlap(guest: 0)) {
      try make(region(100, 10), region(0, user: 1 << 20))
    }
  }

  @Test func `Descriptors and regions must be equal in number`() {
    #expect(throws: VhostUserError.descriptorCount(0, expected: 1)) {
      try GuestMemory(regions: [region(0)], descriptors: [])
    }
  }

  @Test func `A pipe is no memory`() throws {
    let pipe = try Descriptor.pipe()
    #expect(throws: VhostUserError.self) {
      try GuestMemory(regions: [region(0)], descriptors: [pipe.reader.rawValue])
    }
  }

  @Test func `Bytes go across the border of adjacent regions, and not one past the end`() throws {
    let memory = try make(region(0x1000, offset: 4096), region(0x2000, offset: 0))
    let text: [UInt8] = [1, 2, 3, 4, 5, 6]
    #expect(text.withUnsafeBytes { memory.write($0, at: 0x1ffd) })
    #expect(memory.piece(at: 0x1ffd, count: 6)?.count == 3)
    var back = [UInt8](repeating: 0, count: 6)
    #expect(back.withUnsafeMutableBytes { memory.read(at: 0x1ffd, into: $0) })
    #expect(back == text)
    #expect(!back.withUnsafeMutableBytes { memory.read(at: 0x2ffb, into: $0) })
    #expect(!back.withUnsafeMutableBytes { memory.read(at: 0xffe, into: $0) })
  }

  @Test func `A ring's area must lie in one region of the front-end's addresses`() throws {
    let memory = try make(region(0, user: 0x10_000), region(4096, user: 0x11_000, offset: 8192))
    #expect(memory.area(atUserAddress: 0x10_ff0, count: 16) != nil)
    #expect(memory.area(atUserAddress: 0x10_ff0, count: 17) == nil)
    #expect(memory.area(atUserAddress: 0, count: 1) == nil)
    #expect(memory.area(atUserAddress: .max, count: 16) == nil)
  }

  @Test func `Slots are added and removed one by one, by exact address and size`() throws {
    var memory = GuestMemory()
    for index in 0..<UInt64(Limits.regions) {
      memory = try memory.adding(region(index * 4096), descriptor: file.rawValue)
    }
    #expect(throws: VhostUserError.tooManyRegions(33)) {
      try memory.adding(region(1 << 30), descriptor: file.rawValue)
    }
    #expect(throws: VhostUserError.noSuchRegion(guest: 0)) { try memory.removing(region(0, 8192)) }
    let smaller = try memory.removing(region(4096))
    #expect(smaller.piece(at: 4096, count: 1) == nil)
    #expect(memory.piece(at: 4096, count: 1) != nil)
  }
}
