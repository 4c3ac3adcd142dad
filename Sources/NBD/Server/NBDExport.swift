// What a server offers.
package import BlockDevice
package import BlockIO

/// A disk that clients find by name.
package struct NBDExport: Sendable {
  /// What clients ask for.
  package var name: String
  package var device: SharedDevice
  /// Makes an engine for one connection, on that connection's thread.
  package var makeEngine: @Sendable () throws(BlockIOError) -> any QueuedEngine
  /// Takes what each client did, when it has gone, on that connection's thread.
  package var clientEnded: @Sendable (DeviceStatistics) -> Void = { _ in }
  /// For human beings, in lists; may be empty.
  package var description: String

  package init(
    name: String, device: SharedDevice, description: String = "",
    makeEngine: @escaping @Sendable () throws(BlockIOError) -> any QueuedEngine
  ) {
    self.name = name
    self.device = device
    self.description = description
    self.makeEngine = makeEngine
  }

  /// What it is now.
  var facts: ExportFacts {
    var flags: TransmissionFlags = [.hasFlags, .sendFlush, .sendFUA, .canMultiConn, .sendCache]
    if device.isReadOnly {
      flags.insert(.readOnly)
    } else {
      flags.formUnion([.sendWriteZeroes, .sendFastZero])
      if device.offersDiscard { flags.insert(.sendTrim) }
    }
    return ExportFacts(name: name, description: description, size: device.size, flags: flags)
  }
}
