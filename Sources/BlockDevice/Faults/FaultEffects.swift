// What decisions do to one request.
import Glibc
import Simulation

/// The sum of the decisions on one request, drawn or replayed.
struct FaultEffects {
  /// It fails with this.
  var code: CInt?
  var isHung = false
  var isLost = false
  var isStale = false
  var lies = false
  /// Where a write goes instead.
  var target: UInt64?
  /// Bits, counted from the request's first.
  var flips: [UInt64] = []
  var slowness: Slowness?

  /// - Parameter size: of the disk; decisions may come from a file.
  mutating func add(_ record: FaultRecord, to request: BlockRequest, size: UInt64) {
    switch record.kind {
    case .ioError, .latentErrors, .noSpace: code = code ?? record.kind.code
    case .hang: isHung = true
    case .lostWrite: isLost = true
    case .staleRead: isStale = true
    case .lyingFlush: lies = true
    case .misdirectedWrite:
      if let to = record.numbers("to").first, request.length <= size, to <= size - request.length {
        target = to
      }
    case .corruptWrite, .bitRot:
      flips += record.numbers("flips").filter { $0 / 8 < request.length }
    case .slow:
      let numbers = record.numbers("slow")
      if numbers.count == 2 { slowness = Slowness(numbers[0], numbers[1]).adding(slowness) }
    case .powerCut, .removal, .stall: break
    }
  }
}

/// How much longer than the model says something takes.
struct Slowness: Equatable {
  /// In thousandths of the model's time.
  var share: UInt64
  var extra: SimulationDuration

  /// - Parameter factor: of the model's time, in thousandths, 1000 at least.
  init(_ factor: UInt64, _ extra: UInt64) {
    share = max(factor, 1000) - 1000
    self.extra = SimulationDuration(nanoseconds: extra)
  }

  /// Both, one after the other.
  func adding(_ other: Slowness?) -> Slowness {
    guard let other else { return self }
    var sum = self
    sum.share = saturated(share.addingReportingOverflow(other.share))
    sum.extra = SimulationDuration(
      nanoseconds: saturated(extra.nanoseconds.addingReportingOverflow(other.extra.nanoseconds)))
    return sum
  }

  /// When a request completes that the model lets complete at `time`; rounded up.
  func completion(_ time: SimulationTime, submitted: SimulationTime) -> SimulationTime {
    let product = time.since(submitted).nanoseconds.multipliedFullWidth(by: share)
    guard product.high < 1000 else { return .never }
    let (quotient, remainder) = UInt64(1000).dividingFullWidth(product)
    return time + SimulationDuration(nanoseconds: quotient) + extra
      + SimulationDuration(nanoseconds: remainder == 0 ? 0 : 1)
  }

  private func saturated(_ sum: (partialValue: UInt64, overflow: Bool)) -> UInt64 {
    sum.overflow ? .max : sum.partialValue
  }
}
