import Simulation
import TestKit
import Testing
import VhostUser

@Suite struct MessagesTests {
  private func parse<T>(_ bytes: [UInt8], _ body: (RawSpan) throws(VhostUserError) -> T)
    throws(VhostUserError) -> T
  {
    try body(bytes.span.bytes)
  }

  @Test func `A header survives encoding and parsing`() throws {
    var random = RandomStream(seed: 1, name: "header")
    for _ in 0..<500 {
      let header = MessageHeader(
        request: UInt32(truncatingIfNeeded: random.next()), flags: UInt32(truncatingIfNeeded: random.next()),
        size: UInt32(truncatingIfNeeded: random.next()))
      var bytes: [UInt8] = []
      header.encode(into: &bytes)
      #expect(bytes.count == MessageHeader.byteCount)
      #expect(
        try parse(bytes) { bytes throws(VhostUserError) in try MessageHeader(parsing: bytes) } == header)
    }
  }

  @Test func `SET_VRING_ADDR has its fields in the order descriptors, used, available`() throws {
    var bytes: [UInt8] = []
    for value in [7, 1] as [UInt32] { bytes.appendNative(value) }
    for value in [0x10, 0x20, 0x30, UInt64.max] as [UInt64] { bytes.appendNative(value) }
    let parsed = try parse(bytes) { bytes throws(VhostUserError) in try VringAddress(parsing: bytes) }
    let expected = VringAddress(index: 7, flags: 1, descriptors: 0x10, used: 0x20, available: 0x30, log: .max)
    #expect(parsed == expected)
  }

  @Test func `A memory table may be longer than its regions need, never shorter`() throws {
    let region = MemoryRegion(guest: 1, size: 2, user: 3, fileOffset: 4)
    var bytes: [UInt8] = []
    MemoryTable(regions: [region]).encode(into: &bytes)
    let exact = bytes
    bytes += [UInt8](repeating: 0xff, count: 32)
    for payload in [exact, bytes] {
      #expect(
        try parse(payload) { bytes throws(VhostUserError) in try MemoryTable(parsing: bytes) }.regions == [
          region
        ])
    }
    #expect(throws: VhostUserError.payloadSize(count: 39, expected: 40)) {
      try parse([UInt8](exact.dropLast())) { bytes throws(VhostUserError) in try MemoryTable(parsing: bytes) }
    }
    var many: [UInt8] = []
    many.appendNative(UInt32.max)
    many.appendNative(UInt32(0))
    #expect(throws: VhostUserError.tooManyRegions(Int(UInt32.max))) {
      try parse(many) { bytes throws(VhostUserError) in try MemoryTable(parsing: bytes) }
    }
  }

  @Test func `A configuration access says how many bytes it carries, and carries them`() throws {
    var bytes: [UInt8] = []
    ConfigurationAccess(offset: 32, flags: 1, bytes: [1, 2, 3]).encode(into: &bytes)
    let parsed = try parse(bytes) { bytes throws(VhostUserError) in try ConfigurationAccess(parsing: bytes) }
    #expect(parsed == ConfigurationAccess(offset: 32, flags: 1, bytes: [1, 2, 3]))
    #expect(throws: VhostUserError.self) {
      try parse([UInt8](bytes.dropLast())) { bytes throws(VhostUserError) in
        try ConfigurationAccess(parsing: bytes)
      }
    }
  }

  @Test func `Bit 8 of a ring descriptor message says that there is none`() throws {
    for (index, has) in [(0, true), (255, false)] {
      var bytes: [UInt8] = []
      VringDescriptor(index: index, hasDescriptor: has).encode(into: &bytes)
      let parsed = try parse(bytes) { bytes throws(VhostUserError) in try VringDescriptor(parsing: bytes) }
      #expect(parsed == VringDescriptor(index: index, hasDescriptor: has))
    }
  }

  @Test func `Every error is one line without a full stop`() {
    let errors: [VhostUserError] = [
      .version(flags: 2), .replyOnMainChannel(request: 1), .payloadTooLong(request: 5, count: 5000),
      .payloadSize(count: 1, expected: 2), .closedInsideMessage(bytes: 3), .tooManyDescriptors,
      .descriptorCount(1, expected: 2), .peerDoesNotRead, .badAnswer(request: 1, flags: 2, size: 3),
      .backendChannelClosed, .unknownRequest(9), .notNegotiated(.resetDevice), .featuresNotOffered(1),
      .protocolFeaturesNotOffered(2), .noSuchRing(3), .queueSize(3), .baseIndex(70000), .ringRuns(0),
      .ringAddress(.used, 1), .ringAlignment(.descriptors, 1), .polling(0), .unsuitableDescriptor("x"),
      .tooManyRegions(33), .emptyRegion(guest: 0), .regionWraps(guest: 0), .regionsOverlap(guest: 0),
      .regionPastFile(guest: 0, end: 1, file: 0), .noSuchRegion(guest: 0),
      .configuration(offset: 1, count: 2),
    ]
    for error in errors {
      #expect(!error.description.contains("\n") && !error.description.hasSuffix("."))
    }
  }
}
