// What can go wrong with a disk.
import Glibc

/// The kinds of faults, by their names in files.
package enum FaultKind: String, CaseIterable, Sendable {
  /// What is in the write cache is lost, in whole or in part, and the disk is gone until it has a new client.
  case powerCut = "power-cut"
  /// Sectors that cannot be read until they are written again; their data stays.
  case latentErrors = "latent-errors"
  /// A request fails, and nothing else happens.
  case ioError = "io-error"
  /// A write goes to another place, and is said to be done.
  case misdirectedWrite = "misdirected-write"
  /// A write goes nowhere, and is said to be done.
  case lostWrite = "lost-write"
  /// Bits of what is written are flipped.
  case corruptWrite = "corrupt-write"
  /// Bits of what is read are flipped; the disk keeps the right ones.
  case bitRot = "bit-rot"
  /// A read returns what was there before the last write.
  case staleRead = "stale-read"
  /// A flush is said to be done, and makes nothing durable.
  case lyingFlush = "lying-flush"
  /// Writes fail that would need space which was not used before.
  case noSpace = "no-space"
  /// Requests take longer than the model says.
  case slow
  /// Nothing completes for a while.
  case stall
  /// A request never completes, and nothing else happens.
  case hang
  /// The disk is gone for good: every request fails, those under way included.
  case removal

  /// Which requests it may strike, and strikes unless fewer are asked for.
  package var operations: FaultOperations {
    switch self {
    case .misdirectedWrite, .lostWrite, .corruptWrite: .write
    case .bitRot, .staleRead: .read
    case .lyingFlush: .flush
    case .latentErrors: .read
    case .noSpace: [.write, .writeZeroes]
    case .powerCut, .ioError, .slow, .stall, .hang, .removal: .all
    }
  }

  /// The keys that it takes in files besides `kind` and `name`.
  package var parameterNames: [String] {
    let request = [
      "at", "after", "until", "for", "every", "probability", "count", "operations", "sectors",
    ]
    let window = ["at", "after", "until", "for", "every"]
    switch self {
    case .powerCut:
      return ["at", "after", "probability", "operations", "sectors", "keeps", "torn", "cache", "answer"]
    case .removal: return ["at", "after", "probability", "operations", "sectors"]
    case .latentErrors: return window + ["sectors", "number"]
    case .noSpace: return window + ["space"]
    case .stall: return window
    case .corruptWrite, .bitRot: return request + ["bits"]
    case .staleRead: return request + ["history"]
    case .slow: return request + ["factor", "extra"]
    case .ioError, .hang: return request
    case .misdirectedWrite, .lostWrite, .lyingFlush:
      return request.filter { $0 != "operations" && (self != .lyingFlush || $0 != "sectors") }
    }
  }

  /// Whether it happens once, and then for good.
  package var isFinal: Bool { self == .powerCut || self == .removal }

  /// Whether it needs somebody who can be charged simulated time.
  package var takesTime: Bool { self == .slow || self == .stall }

  /// What a request that it strikes fails with; nil if that is not what it does.
  var code: CInt? {
    switch self {
    case .ioError, .latentErrors: EIO
    case .noSpace: ENOSPC
    default: nil
    }
  }
}

/// A set of operations of requests.
package struct FaultOperations: OptionSet, Sendable {
  package let rawValue: UInt8

  package init(rawValue: UInt8) { self.rawValue = rawValue }

  package static let read = FaultOperations(.read)
  package static let write = FaultOperations(.write)
  package static let flush = FaultOperations(.flush)
  package static let discard = FaultOperations(.discard)
  package static let writeZeroes = FaultOperations(.writeZeroes)
  package static let all: FaultOperations = [.read, .write, .flush, .discard, .writeZeroes]

  init(_ operation: BlockRequest.Operation) { rawValue = 1 << operation.rawValue }

  func contains(_ operation: BlockRequest.Operation) -> Bool { contains(FaultOperations(operation)) }

  /// By their names in files; nil for an unknown one.
  package init?(names: [String]) {
    var set: FaultOperations = []
    for name in names {
      guard let operation = BlockRequest.Operation.allCases.first(where: { $0.name == name }) else {
        return nil
      }
      set.insert(FaultOperations(operation))
    }
    self = set
  }

  /// Their names in files, in a fixed order.
  package var names: [String] { BlockRequest.Operation.allCases.filter { contains($0) }.map(\.name) }
}

extension BlockRequest.Operation {
  /// As files have it.
  package var name: String {
    switch self {
    case .read: "read"
    case .write: "write"
    case .flush: "flush"
    case .discard: "discard"
    case .writeZeroes: "write-zeroes"
    }
  }

  /// By its name in files.
  package init?(name: String) {
    guard let operation = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = operation
  }
}
