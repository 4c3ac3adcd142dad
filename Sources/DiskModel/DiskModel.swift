// When a disk is done.
package import Simulation

/// What a model may know of a request: never its bytes.
package struct ModelRequest: Sendable {
  package enum Operation: Sendable { case read, write, flush, discard, writeZeroes }
  package var operation: Operation
  /// Bytes from the beginning of the disk.
  package var offset: UInt64
  /// In bytes.
  package var length: UInt64
  /// Counts the requests of one disk.
  package var sequence: UInt64

  package init(operation: Operation, offset: UInt64, length: UInt64, sequence: UInt64) {
    self.operation = operation
    self.offset = offset
    self.length = length
    self.sequence = sequence
  }
}

/// A latency model: a pure state machine of (request, state, time), in integer nanoseconds.
///
/// It has no clock, does no I/O and never learns how long the host took.
package protocol DiskModel: Sendable {
  /// As it is written in a configuration: `affine:50us`.
  var specification: String { get }

  /// No request completes earlier than this after its submission; a controller may use it as lookahead.
  var minimumLatency: SimulationDuration { get }

  /// Takes a request at `now`, which never decreases; finished requests are appended as (sequence, time).
  ///
  /// A model that cannot tell yet when this one completes appends it later, from `advance`.
  mutating func submit(
    _ request: ModelRequest, at now: SimulationTime, into finished: inout [ModelCompletion])

  /// When `advance` wants to be called; nil for never.
  var nextWake: SimulationTime? { get }

  /// Called at a time it asked for.
  mutating func advance(to now: SimulationTime, into finished: inout [ModelCompletion])
}

/// The model's verdict on one request.
package struct ModelCompletion: Equatable, Sendable {
  package var sequence: UInt64
  package var time: SimulationTime

  package init(sequence: UInt64, time: SimulationTime) {
    self.sequence = sequence
    self.time = time
  }
}

/// Why a model specification was refused; one lower-case line.
package struct DiskModelError: Error, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// Reads a specification as configurations have it.
/// - Returns: nil for `zero`: requests then complete when they are made.
package func makeDiskModel(_ specification: String) throws(DiskModelError) -> (any DiskModel)? {
  let parts = specification.split(separator: ":", omittingEmptySubsequences: false)
  switch parts[0] {
  case "zero" where parts.count == 1:
    return nil
  case "affine":
    return try AffineModel(arguments: parts.dropFirst(), of: specification)
  default:
    throw DiskModelError(
      "unknown model '\(specification)'; known are zero, affine:LATENCY and affine:LATENCY:BANDWIDTH")
  }
}
