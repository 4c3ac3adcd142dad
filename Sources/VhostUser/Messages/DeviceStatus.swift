// The device status field.

/// Bits of the device status (virtio 1.2 §2.1) that concern a device behind vhost-user.
package struct DeviceStatus: OptionSet, Sendable, Equatable {
  package let rawValue: UInt8

  package init(rawValue: UInt8) { self.rawValue = rawValue }

  package static let acknowledge = Self(rawValue: 1)
  package static let driver = Self(rawValue: 2)
  package static let driverOK = Self(rawValue: 4)
  package static let featuresOK = Self(rawValue: 8)
  package static let needsReset = Self(rawValue: 64)
  package static let failed = Self(rawValue: 128)
}
