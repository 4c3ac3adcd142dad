// When a disk is done.
package import Simulation

/// What a model may know of a request: never its bytes.
package struct ModelRequest: Sendable {
  package enum Operation: String, CaseIterable, Sendable {
    case read, write, flush, discard
    case writeZeroes = "write_zeroes"

    /// Its name in tables of parameters.
    package var key: String { rawValue }

    /// Whether its bytes go over the wire; the others name a range, or nothing.
    package var movesBytes: Bool { self == .read || self == .write }
  }
  package var operation: Operation
  /// Bytes from the beginning of the disk.
  package var offset: UInt64
  /// In bytes.
  package var length: UInt64
  /// Counts the requests of one disk.
  package var sequence: UInt64
  /// Whether a write is done only when it is on the medium (FUA): nobody will ask for a flush.
  package var isForced: Bool

  package init(
    operation: Operation, offset: UInt64, length: UInt64, sequence: UInt64, isForced: Bool = false
  ) {
    self.operation = operation
    self.isForced = isForced
    self.offset = offset
    self.length = length
    self.sequence = sequence
  }
}

/// A latency model: a pure state machine of (request, state, time), in integer nanoseconds.
///
/// It has no clock, does no I/O and never learns how long the host took.
package protocol DiskModel: Sendable {
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

  /// Does what was due by `now` and ends no request, for which a model need not ask to be called; `counters`
  /// tell of it then.
  mutating func catchUp(to now: SimulationTime)

  /// How a large drive stands for this disk, a line for its user; nil where there was nothing to choose.
  var placement: String? { get }

  /// What the model counted of its own, for reports: collections, programmed pages, busy time.
  var counters: [ModelCounter] { get }
}

extension DiskModel {
  package mutating func catchUp(to now: SimulationTime) {}
  package var placement: String? { nil }
  package var counters: [ModelCounter] { [] }
}

/// One number of a report.
package struct ModelCounter: Equatable, Sendable {
  /// In lower case with underscores, as JSON has it; times end in `_ns`, lengths in `_bytes`.
  package var name: String
  package var value: UInt64

  package init(_ name: String, _ value: UInt64) {
    self.name = name
    self.value = value
  }
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

/// Why a model was refused; one lower-case line.
package struct DiskModelError: Error, CustomStringConvertible {
  package let description: String
  /// The parameter that is wrong; whoever knows its file and line puts them before the description.
  package let key: String?

  package init(_ description: String, key: String? = nil) {
    self.description = description
    self.key = key
  }
}
