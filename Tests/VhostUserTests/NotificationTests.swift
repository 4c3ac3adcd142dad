import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

@Suite struct NotificationTests {
  private func kickWithoutWaiting(_ rig: Rig) throws {
    rig.queue.publish()
    try rig.driver.send(35, rig.driver.bytes(VringState(index: 0, value: 0)), needReply: true)
  }

  @Test func `With afterKickReply the reply follows the call at once`() throws {
    let rig = try Rig(callReply: .afterKickReply)
    try rig.driver.handshake()
    rig.driver.answersCalls = false
    rig.driver.events = []
    _ = try rig.submitRead()
    try kickWithoutWaiting(rig)
    try rig.settle()
    #expect(rig.session.callsAwaitingReply == 1)
    #expect(try rig.driver.takeReply()?.request == 35)
    try rig.driver.pollCalls()
    #expect(rig.driver.events == [.reply(35), .call(queue: 0)])
    // A second kick is served while the first call is still unanswered.
    rig.queue.setUsedEvent(1)
    _ = try rig.submitRead()
    try kickWithoutWaiting(rig)
    try rig.settle()
    #expect(rig.session.callsAwaitingReply == 2)
    #expect(try rig.driver.takeReply()?.value == 0)
    var settled = 0
    rig.session.onCallsSettled = { settled += 1 }
    try rig.driver.pollCalls()
    try rig.driver.answerCalls()
    try rig.settle()
    #expect(rig.session.callsAwaitingReply == 0 && settled == 1)
  }

  @Test func `With beforeKickReply the reply waits for the call's answer, and so does every message`() throws
  {
    let rig = try Rig(callReply: .beforeKickReply)
    try rig.driver.handshake()
    rig.driver.answersCalls = false
    rig.driver.events = []
    var settled = 0
    rig.session.onCallsSettled = { settled += 1 }
    _ = try rig.submitRead()
    try kickWithoutWaiting(rig)
    try rig.driver.send(1)
    try rig.settle()
    #expect(rig.session.callsAwaitingReply == 1)
    #expect(try rig.driver.takeReply() == nil)
    #expect(rig.queue.takeAll().count == 1, "what the call is about is there before the call")
    try rig.driver.pollCalls()
    try rig.driver.answerCalls()
    try rig.settle()
    #expect(settled == 1)
    #expect(try rig.driver.takeReply()?.request == 35)
    #expect(try rig.driver.takeReply()?.request == 1)
    #expect(rig.driver.events == [.call(queue: 0), .reply(35), .reply(1)])
  }

  @Test func `With beforeKickReply a kick that causes no call is answered at once`() throws {
    let rig = try Rig(callReply: .beforeKickReply)
    try rig.driver.handshake()
    rig.driver.answersCalls = false
    try kickWithoutWaiting(rig)
    try rig.settle()
    #expect(try rig.driver.takeReply()?.request == 35)
  }

  @Test func `A held chain is completed later, with one call, from outside any kick`() throws {
    for order in [CallReplyOrder.beforeKickReply, .afterKickReply] {
      let rig = try Rig(callReply: order)
      rig.device.manner = .hold
      try rig.driver.handshake()
      _ = try rig.submitRead()
      _ = try rig.submitRead()
      try rig.driver.publishAndKick(rig.queue)
      #expect(rig.device.held.count == 2 && rig.queue.take() == nil)
      rig.driver.events = []
      rig.device.completeOne()
      rig.device.completeOne()
      rig.session.virtqueue(0).publishAndSignal()
      #expect(rig.session.callsAwaitingReply == 1)
      try rig.driver.pollCalls()
      #expect(rig.driver.events == [.call(queue: 0)])
      try rig.settle()
      #expect(rig.session.callsAwaitingReply == 0)
      #expect(rig.queue.takeAll().count == 2)
    }
  }

  @Test func `A front-end that dies while its kick waits ends the session, and settles the calls`() throws {
    let device = TestDevice()
    var rig: Rig? = try Rig(callReply: .beforeKickReply, device: device)
    let session = try #require(rig?.session)
    let loop = try #require(rig?.loop)
    var settled = 0
    session.onCallsSettled = { settled += 1 }
    try rig?.driver.handshake()
    rig?.driver.answersCalls = false
    if let rig {
      _ = try rig.submitRead()
      try kickWithoutWaiting(rig)
      try rig.settle()
    }
    #expect(session.callsAwaitingReply == 1)
    rig = nil
    for _ in 0..<10 { try loop.runOnce(timeout: 0) }
    #expect(settled == 1 && session.callsAwaitingReply == 0)
    #expect(device.reason != nil)
  }

  @Test func `Answers that fit no call end the session`() throws {
    let wrong: [(MessageHeader, Int)] = [
      (MessageHeader(request: 4, flags: 5, size: 8), 0), (MessageHeader(request: 2, flags: 5, size: 8), 1),
      (MessageHeader(request: 4, flags: 1, size: 8), 1), (MessageHeader(request: 4, flags: 5, size: 16), 1),
      (MessageHeader(request: 4, flags: 6, size: 8), 1),
    ]
    for (header, calls) in wrong {
      let rig = try Rig()
      try rig.driver.handshake()
      rig.driver.answersCalls = false
      if calls > 0 {
        _ = try rig.submitRead()
        try rig.driver.publishAndKick(rig.queue)
        #expect(rig.session.callsAwaitingReply == 1)
      }
      try rig.driver.answer(header, value: 0)
      try rig.settle()
      #expect(rig.device.reason.flatMap { $0 }?.hasPrefix("an answer to no message of ours") == true)
    }
  }

  @Test func `A call that the front-end refuses is settled and logged`() throws {
    let rig = try Rig()
    try rig.driver.handshake()
    rig.driver.answersCalls = false
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    try rig.driver.answer(MessageHeader(request: 4, flags: 5, size: 8), value: 1)
    try rig.settle()
    #expect(rig.session.callsAwaitingReply == 0 && rig.device.reason == nil)
    #expect(rig.lines.all == ["the front-end answered vringCall with 1"])
  }

  @Test func `Without REPLY_ACK calls are sent and nothing waits for them`() throws {
    let rig = try Rig(callReply: .beforeKickReply)
    try rig.driver.handshake(
      MockDriver.Handshake(protocolFeatures: [.backendChannel, .configuration, .inBandNotifications]))
    rig.driver.events = []
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    try rig.settle()
    try rig.driver.pollCalls()
    #expect(rig.driver.events == [.call(queue: 0)])
    #expect(rig.session.callsAwaitingReply == 0)
  }

  @Test func `A changed configuration is announced, and the answer awaited`() throws {
    let rig = try Rig()
    try rig.driver.handshake()
    rig.driver.events = []
    rig.session.configurationChanged()
    #expect(rig.session.callsAwaitingReply == 1)
    try rig.driver.pollCalls()
    try rig.settle()
    #expect(rig.driver.events == [.configurationChanged] && rig.session.callsAwaitingReply == 0)
  }

  @Test func `A call pipe that is full is left alone`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.handshake(MockDriver.Handshake(features: ~RingFeatures.eventIndex))
    let pipe = try Descriptor.pipe()
    try pipe.writer.setNonblocking(true)
    let junk = [UInt8](repeating: 0, count: 65536)
    while junk.withUnsafeBytes({ write(pipe.writer.rawValue, $0.baseAddress, $0.count) }) > 0 {}
    try rig.driver.tell(.setVringCall, rig.driver.bytes(UInt64(0)), descriptors: [pipe.writer.rawValue])
    for _ in 0..<20 {
      _ = try rig.submitRead()
      try rig.driver.publishAndKick(rig.queue)
      try rig.settle()
      #expect(rig.queue.takeAll().count == 1)
    }
    #expect(rig.device.reason == nil)
  }

  @Test func `A blocking call eventfd that is full does not stop us`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.handshake(MockDriver.Handshake(features: ~RingFeatures.eventIndex))
    let call = Descriptor(owning: eventfd(0, 0))
    var full = UInt64.max - 1
    _ = write(call.rawValue, &full, 8)
    try rig.driver.tell(.setVringCall, rig.driver.bytes(UInt64(0)), descriptors: [call.rawValue])
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    try rig.settle()
    #expect(rig.queue.takeAll().count == 1)
  }

  @Test func `A call that nobody reads any more raises no SIGPIPE`() async {
    await #expect(processExitsWith: .success) {
      for kind in [false, true] {
        let rig = try Rig(inBand: false)
        try rig.driver.handshake(MockDriver.Handshake(features: ~RingFeatures.eventIndex))
        var ends: [CInt] = []
        let pair = try kind ? UnixSocket.pair() : Descriptor.pipe()
        pair.split { ends = [$0.release(), $1.release()] }
        try rig.driver.tell(.setVringCall, rig.driver.bytes(UInt64(0)), descriptors: [ends[1]])
        for end in ends { close(end) }
        for _ in 0..<2 {
          _ = try rig.submitRead()
          try rig.driver.publishAndKick(rig.queue)
          try rig.settle()
        }
        #expect(rig.queue.takeAll().count == 2 && rig.device.reason == nil)
      }
    }
  }

  @Test func `A kick that lost its writers is dropped, not spun upon`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.handshake()
    var pipe: DescriptorPair? = try Descriptor.pipe()
    if let reader = pipe?.reader.rawValue {
      try rig.driver.tell(.setVringKick, rig.driver.bytes(UInt64(0)), descriptors: [reader])
    }
    pipe = nil
    try rig.settle()
    #expect(rig.lines.all == ["ring 0 lost its kick"])
  }

  @Test func `Bit 8 of CALL silences the ring`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.handshake()
    _ = rig.driver.takeCallCount(queue: 0)
    try rig.driver.tell(.setVringCall, rig.driver.bytes(UInt64(0x100)))
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    try rig.settle()
    #expect(rig.queue.takeAll().count == 1 && rig.driver.takeCallCount(queue: 0) == 0)
  }

  @Test func `A bad chain is answered although the device took nothing`() throws {
    let rig = try Rig()
    try rig.driver.handshake()
    let head = try #require(rig.queue.submit([.init(address: 1, count: 1, isWritable: false)]))
    try rig.driver.publishAndKick(rig.queue)
    #expect(rig.queue.takeAll() == [.init(head: UInt32(head), written: 0)])
    #expect(rig.session.virtqueue(0).refusedChains == 1 && rig.device.served == 0)
    #expect(rig.lines.all == ["ring 0, head \(head): buffer at 0x1 is not in guest memory"])
  }

  @Test func `A broken ring signals its error descriptor, once, and spares the other ring`() throws {
    let device = TestDevice()
    device.queueCount = 2
    let rig = try Rig(device: device)
    try rig.driver.handshake(MockDriver.Handshake(queueCount: 2))
    let error = try Descriptor.eventCounter()
    try rig.driver.tell(.setVringError, rig.driver.bytes(UInt64(0)), descriptors: [error.rawValue])
    rig.queue.makeAvailable(256)
    rig.queue.publish()
    try rig.driver.kick(rig.queue)
    try rig.driver.kick(rig.queue)
    var count: UInt64 = 0
    #expect(CLinux_take_count(error.rawValue, &count) == 8 && count == 1)
    #expect(!rig.session.isRunning(queue: 0) && rig.lines.all.count == 1)
    _ = try rig.submitRead(rig.driver.queues[1])
    try rig.driver.publishAndKick(rig.driver.queues[1])
    #expect(rig.driver.queues[1].takeAll().count == 1)
    // New set-up revives it.
    try rig.driver.stop()
    rig.queue.reset()
    try rig.driver.setUp(rig.queue)
    try rig.driver.start(rig.queue)
    #expect(rig.session.isRunning(queue: 0))
  }

  @Test func `A kick serves at most a ringful, and the rest comes on the next turn`() throws {
    let rig = try Rig()
    try rig.driver.handshake(MockDriver.Handshake(queueSize: 4))
    // A guest that fills the ring while it is being served, from another processor.
    var more = 10
    rig.device.onChain = { _ in
      guard more > 0 else { return }
      more -= 1
      _ = rig.queue.takeAll()
      rig.queue.makeAvailable(0)
      rig.queue.publish()
    }
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    #expect(rig.device.served <= 8)
    try rig.settle()
    #expect(rig.device.served == 11)
    #expect(rig.device.events.filter { $0 == "notified 0" }.count >= 3)
  }
}
