// The angle of the platters.

/// A platter that turns at a constant rate: remainders by its revolution, without dividing.
struct Turning: Sendable {
  /// In nanoseconds.
  let revolution: UInt64
  /// `2^64 / revolution`, rounded down: a quotient by it is short by two at most.
  private let inverse: UInt64

  init(revolution: UInt64) {
    self.revolution = revolution
    inverse = .max / revolution
  }

  /// The angle at a time, as a time within a revolution; exact.
  @inline(__always)
  func angle(at time: UInt64) -> UInt64 {
    var rest = time &- time.multipliedFullWidth(by: inverse).high &* revolution
    while rest >= revolution { rest &-= revolution }
    return rest
  }

  /// How long from one angle, which may have turned further, until another one.
  @inline(__always)
  func wait(from turned: UInt64, to angle: UInt64) -> UInt64 {
    let past = self.angle(at: turned &+ revolution &- angle)
    return past == 0 ? 0 : revolution - past
  }
}
