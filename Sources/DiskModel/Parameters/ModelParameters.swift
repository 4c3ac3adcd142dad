// What is between a table and a model.

/// A kind of models: its numbers, read and checked, from which models are made.
///
/// A configuration is checked by making this alone: it is small, and takes no memory by the numbers in it.
package protocol ModelParameters: Sendable {
  /// As `kind = "…"` has it.
  static var kind: String { get }

  /// Reads every key of its kind and calls `finish`; `kind` and `queue_depth` have been read.
  init(_ reader: ParameterReader) throws(DiskModelError)

  /// The model for one disk; nil completes requests when they are made.
  func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)?
}

/// No model: requests complete when they are made.
package struct ZeroParameters: ModelParameters {
  package static let kind = "zero"

  package init(_ reader: ParameterReader) throws(DiskModelError) {
    if reader.has("queue_depth") {
      throw reader.error(
        "'queue_depth' is for models that take time: zero never has a queue", key: "queue_depth")
    }
    try reader.finish()
  }

  package func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)? { nil }
}
