import CLinux
import Glibc
import Linux
import Simulation
import TestKit
import Testing
import VhostUser

private func message(_ request: UInt32, _ payload: [UInt8], flags: UInt32 = 9, size: UInt32? = nil) -> [UInt8]
{
  var bytes: [UInt8] = []
  MessageHeader(request: request, flags: flags, size: size ?? UInt32(payload.count)).encode(into: &bytes)
  return bytes + payload
}

// Tests that count descriptors have a process of their own, because other tests open and close them too.
@Suite struct RobustnessTests {
  @Test func `Messages may come byte by byte, with their descriptors at the first`() throws {
    let rig = try Rig()
    var table: [UInt8] = []
    MemoryTable(regions: rig.memory.regions).encode(into: &table)
    for (index, byte) in message(5, table).enumerated() {
      let file = rig.memory.descriptor.rawValue
      try rig.driver.sendBytes([byte], descriptors: index == 0 ? [file, file] : [])
      try rig.settle()
    }
    #expect(try rig.driver.takeReply()?.value == 0)
    #expect(rig.session.memory.regions == rig.memory.regions)
  }

  @Test func `Several messages in one piece are taken one after the other`() throws {
    let rig = try Rig()
    try rig.driver.sendBytes(message(3, []) + message(1, [], flags: 1) + message(77, [1]))
    try rig.settle()
    #expect(try rig.driver.takeReply()?.request == 3)
    #expect(try rig.driver.takeReply()?.request == 1)
    #expect(try rig.driver.takeReply()?.value == 1)
  }

  @Test func `A session that cannot go on says why in one line`() throws {
    let cases: [([UInt8], String)] = [
      (message(1, [], flags: 0), "header flags 0x0 are not of version 1"),
      (message(1, [], flags: 2), "header flags 0x2 are not of version 1"),
      (message(1, [], flags: 5), "a reply to request 1, which we never sent"),
      (message(5, [], size: 4097), "request 5 has 4097 bytes of payload, more than 4096"),
      (message(5, [], size: .max), "request 5 has 4294967295 bytes of payload, more than 4096"),
    ]
    for (bytes, reason) in cases {
      let rig = try Rig()
      try rig.driver.sendBytes(bytes)
      try rig.settle()
      #expect(rig.device.reason == .some(reason))
      #expect(rig.lines.all == ["session ended: \(reason)"])
    }
  }

  @Test func `The end of the stream between messages is orderly, inside one it is not`() throws {
    for count in [0, 1, 11, 12, 15] {
      let device = TestDevice()
      var rig: Rig? = try Rig(device: device)
      let loop = try #require(rig?.loop)
      try rig?.driver.sendBytes([UInt8](message(16, [0, 0, 0, 0, 0, 0, 0, 0]).prefix(count)))
      rig = nil
      for _ in 0..<5 { try loop.runOnce(timeout: 0) }
      let expected: String? = count == 0 ? nil : "the connection ended after \(count) bytes of a message"
      #expect(device.reason == .some(expected))
    }
  }

  @Test func `Descriptors that nobody asked for are closed, whatever the message`() async {
    await #expect(processExitsWith: .success) {
      let rig = try Rig()
      let pipe = try Descriptor.pipe()
      try rig.driver.handshake()
      let before = OpenDescriptors()
      let all = [CInt](repeating: pipe.reader.rawValue, count: 32)
      for request in [1, 2, 3, 5, 8, 9, 10, 12, 13, 14, 16, 18, 21, 24, 25, 35, 37, 38, 99] as [UInt32] {
        try rig.driver.send(request, rig.driver.bytes(UInt64(0)), descriptors: all, needReply: true)
        try rig.settle()
        _ = try rig.driver.takeAnything()
        expectOpen(before, "request \(request)")
      }
      #expect(rig.device.reason == nil)
    }
  }

  @Test func `More descriptors than allowed end the session`() async {
    await #expect(processExitsWith: .success) {
      let rig = try Rig()
      let pipe = try Descriptor.pipe()
      let before = OpenDescriptors()
      let half = [CInt](repeating: pipe.reader.rawValue, count: 20)
      let bytes = message(5, [UInt8](repeating: 0, count: 72))
      try rig.driver.sendBytes([bytes[0]], descriptors: half)
      try rig.driver.sendBytes([bytes[1]], descriptors: half)
      try rig.settle()
      #expect(rig.device.reason == .some("a message with more than 32 descriptors"))
      expectOpen(before)
    }
  }

  @Test func `A session leaves no descriptor and no mapping behind`() async {
    await #expect(processExitsWith: .success) {
      let before = OpenDescriptors()
      for round in 0..<30 {
        let device = TestDevice()
        device.queueCount = 3
        weak var session: Session?
        do {
          let rig = try Rig(inBand: round % 3 == 0, device: device)
          session = rig.session
          try rig.driver.handshake(MockDriver.Handshake(queueCount: 3))
          let error = try Descriptor.eventCounter()
          try rig.driver.tell(.setVringError, rig.driver.bytes(UInt64(1)), descriptors: [error.rawValue])
          _ = try rig.submitRead()
          try rig.driver.publishAndKick(rig.queue)
          if round % 3 == 2 {
            try rig.driver.sendBytes([1, 2, 3], descriptors: [error.rawValue])
            try rig.settle()
          }
          rig.session.end()
          try rig.settle()
          #expect(device.reason == .some(nil))
        }
        #expect(session == nil)
        expectOpen(before)
      }
    }
  }

  @Test func `A front-end that reads no replies loses its session, not ours`() throws {
    let rig = try Rig()
    for _ in 0..<20_000 where rig.device.reason == nil {
      do { try rig.driver.send(1) } catch { break }
      try rig.loop.runOnce(timeout: 0)
    }
    try rig.settle()
    #expect(rig.device.reason == .some("the front-end does not read what we send"))
  }

  @Test func `A front-end that answers no calls loses its session`() throws {
    let rig = try Rig()
    try rig.driver.handshake(MockDriver.Handshake(features: ~RingFeatures.eventIndex))
    rig.driver.answersCalls = false
    for _ in 0..<2000 where rig.device.reason == nil {
      _ = try rig.submitRead()
      do { try rig.driver.publishAndKick(rig.queue) } catch { break }
      _ = rig.queue.takeAll()
    }
    try rig.settle()
    #expect(rig.device.reason == .some("the front-end does not read what we send"))
  }

  @Test func `Random messages neither crash nor leak`() async {
    await #expect(processExitsWith: .success) {
      let before = OpenDescriptors()
      for seed in 0..<150 as Range<UInt64> {
        var random = RandomStream(seed: seed, name: "messages")
        let device = TestDevice()
        device.queueCount = 2
        let rig = try Rig(
          inBand: seed % 2 == 0, callReply: seed % 3 == 0 ? .beforeKickReply : .afterKickReply, device: device
        )
        if seed % 4 != 0 { try rig.driver.handshake(MockDriver.Handshake(queueCount: 2, queueSize: 16)) }
        rig.driver.answersCalls = seed % 5 != 0
        let file = rig.memory.descriptor.rawValue
        let numbers: [UInt64] = [0, 1, 2, 16, 0x100, 1 << 20, rig.memory.regions[0].user, .max]
        for _ in 0..<60 where device.reason == nil {
          let request = UInt32.random(in: 0...43, using: &random)
          var payload: [UInt8] = []
          for _ in 0..<Int.random(in: 0...9, using: &random) {
            payload.appendNative(numbers.randomElement(using: &random) ?? 0)
          }
          if request == 5, Bool.random(using: &random) {
            payload = []
            MemoryTable(regions: rig.memory.regions).encode(into: &payload)
          }
          let descriptors = [CInt](repeating: file, count: Int.random(in: 0...2, using: &random))
          do {
            try rig.driver.send(
              request, payload, descriptors: descriptors, needReply: Bool.random(using: &random))
            for _ in 0..<4 { try rig.loop.runOnce(timeout: 0) }
            while try rig.driver.takeAnything() {}
            try rig.driver.pollCalls()
          } catch MockDriverError.closed {
            break
          } catch MockDriverError.linux {
            break
          }
        }
        rig.session.end()
        for _ in 0..<10 { try rig.loop.runOnce(timeout: 0) }
        #expect(device.reason != nil, "seed \(seed)")
      }
      expectOpen(before)
    }
  }
}

extension MockDriver {
  /// Takes a reply of whatever kind.
  func takeAnything() throws -> Bool {
    do {
      return try takeReply() != nil
    } catch MockDriverError.unexpected {
      return true
    }
  }
}
