// The numbers that bound a server; those of the protocol are in ProtocolLimits.

/// What one client can use up.
enum Limits {
  /// How many requests of a connection are under way; others wait in the socket.
  static let depthMax = 64
  /// How much memory their data takes.
  static let bytesUnderWayMax = 64 << 20
  /// And that of all connections of a server; each may have one request more.
  static let bytesUnderWayTotal = 512 << 20
  /// How much memory a connection keeps for its next requests.
  static let bytesKeptMax = 16 << 20
  /// What is read from a socket at once, data of long writes apart.
  static let receiveBytes = 64 << 10
  /// The most pieces that a read is answered in.
  static let chunksMax = 16
  /// Shorter reads are answered without a look for holes.
  static let holeSearchMin: UInt32 = 64 << 10
  /// How many descriptors an answer to BLOCK_STATUS has.
  static let descriptorsMax = 2047
  /// How many pieces of memory one sendmsg(2) takes.
  static let partsPerSend = 1024
  /// How often a socket is read before other things have their turn.
  static let receivesPerTurn = 16
  /// How many clients an address has at a time.
  static let connectionsMax = 64
  /// How long a client may take to choose an export.
  static let handshakeMilliseconds: UInt64 = 30_000
  /// How long its last replies are offered to a client whose connection ends.
  static let lingerMilliseconds: UInt64 = 2_000
  /// The longest file of keys.
  static let keyFileBytesMax = 1 << 20
  /// How much of what TLS carries is held, in each direction.
  static let tunnelBytes = 64 << 10
  /// How many connections wait to be accepted.
  static let backlog: Int32 = 128
}
