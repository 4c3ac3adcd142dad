// The numbers that bound what a client may say.

/// What is taken of a client; what is beyond it is refused.
package enum ProtocolLimits {
  /// The longest string ("Values", the beginning).
  package static let stringBytesMax = 4096
  /// The most data an option may have; of longer ones the data is skipped.
  package static let optionBytesMax = 32 << 10
  /// Who announces more data than that is not waited for.
  package static let optionBytesSkippedMax: UInt32 = 1 << 20
  /// How many options a client may send.
  package static let optionsMax = 128
  /// How many metadata contexts it may ask for at once.
  package static let queriesMax = 256
  /// The smallest request: any byte.
  package static let blockSizeMin: UInt32 = 1
  /// What requests had better be multiples of.
  package static let blockSizePreferred: UInt32 = 4096
  /// The most bytes that a request or its reply carries.
  package static let payloadBytesMax: UInt32 = 32 << 20
  /// A write that is longer, but not longer than this, is read to its end and refused.
  package static let payloadBytesSkippedMax: UInt32 = 64 << 20
  /// How long the text of an error may be.
  package static let errorTextBytesMax = 128
}
