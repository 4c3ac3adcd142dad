import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

@Suite struct StatusTests {
  static let wish = MockDriver.Handshake(protocolFeatures: [.replyAck, .status, .configuration])

  private func status(_ rig: Rig) throws -> DeviceStatus {
    let bytes = try rig.driver.ask(.getStatus)
    return DeviceStatus(rawValue: try #require(bytes.first))
  }

  private func set(_ rig: Rig, _ status: DeviceStatus) throws {
    try rig.driver.tell(.setStatus, rig.driver.bytes(UInt64(status.rawValue)))
  }

  @Test func `The status is what the driver set`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.introduce(Self.wish)
    #expect(try status(rig) == [])
    try set(rig, [.acknowledge, .driver])
    try rig.driver.tell(.setFeatures, rig.driver.bytes(rig.driver.features))
    try set(rig, [.acknowledge, .driver, .featuresOK])
    #expect(try status(rig) == [.acknowledge, .driver, .featuresOK])
  }

  @Test func `FEATURES_OK does not stay when features were asked for that were never offered`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.introduce(Self.wish)
    #expect(throws: MockDriverError.self) {
      try rig.driver.tell(.setFeatures, rig.driver.bytes(UInt64(1) << 63))
    }
    try set(rig, [.acknowledge, .driver, .featuresOK])
    #expect(try status(rig) == [.acknowledge, .driver])
  }

  @Test func `A broken ring needs a reset, and status 0 is one`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.handshake(Self.wish)
    try set(rig, [.acknowledge, .driver, .featuresOK, .driverOK])
    rig.queue.makeAvailable(256)
    rig.queue.publish()
    try rig.driver.kick(rig.queue)
    try rig.settle()
    #expect(try status(rig).contains(.needsReset))
    try set(rig, [])
    #expect(try status(rig) == [])
    #expect(rig.session.features == 0 && !rig.session.isRunning(queue: 0))
    // Descriptors and memory are still there, as QEMU gives them once.
    rig.queue.reset()
    try rig.driver.tell(.setFeatures, rig.driver.bytes(rig.driver.features))
    try rig.driver.tell(.setVringBase, rig.driver.bytes(VringState(index: 0, value: 0)))
    try rig.driver.tell(.setVringEnable, rig.driver.bytes(VringState(index: 0, value: 1)))
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    try rig.settle()
    #expect(rig.queue.takeAll().count == 1)
  }

  @Test func `A configuration write says who writes`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.introduce(Self.wish)
    for flags in [0, 1, 2] as [UInt32] {
      var access: [UInt8] = []
      ConfigurationAccess(offset: 32, flags: flags, bytes: [UInt8(flags)]).encode(into: &access)
      if flags == 2 {
        #expect(throws: MockDriverError.refused(request: 25, value: 1)) {
          try rig.driver.tell(.setConfiguration, access)
        }
      } else {
        try rig.driver.tell(.setConfiguration, access)
      }
    }
    #expect(rig.device.writes == [false, true])
  }
}
