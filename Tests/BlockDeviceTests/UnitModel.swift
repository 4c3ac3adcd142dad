// What a disk may contain when requests overlap in time.
import Simulation
import Testing

/// A disk in units of some bytes, each filled with one number; and which numbers each of them may have.
///
/// Of changes that overlap in time either may be the last. A change that was complete before another began is
/// gone when that one is complete; after a crash it is gone if that one was complete before a flush began
/// that is complete.
struct UnitModel {
  static let unit = 64

  struct Change {
    let value: UInt64
    let range: Range<Int>
    let begun: Int
    var ended: Int?
    var hasFailed = false
  }

  /// All changes so far; the first ones are what the disk began with.
  private(set) var changes: [Change] = []
  /// By unit: which changes may be seen now, or after a crash.
  private var seen: [[Int]]
  private var kept: [[Int]]
  private(set) var time = 0

  init(_ bytes: [UInt8]) {
    let count = bytes.count / UnitModel.unit
    seen = (0..<count).map { [$0] }
    kept = seen
    for unit in 0..<count {
      changes.append(
        Change(value: UnitModel.value(bytes, unit) ?? 1, range: unit..<unit + 1, begun: 0, ended: 0))
    }
  }

  var unitCount: Int { seen.count }

  /// The number that fills a unit; nil if it is torn.
  static func value(_ bytes: [UInt8], _ unit: Int) -> UInt64? {
    isOf(bytes, unit, [word(bytes, unit, 0)]) ? word(bytes, unit, 0) : nil
  }

  /// Whether each word of a unit is one of these numbers.
  static func isOf(_ bytes: [UInt8], _ unit: Int, _ numbers: [UInt64]) -> Bool {
    (0..<UnitModel.unit / 8).allSatisfy { numbers.contains(word(bytes, unit, $0)) }
  }

  private static func word(_ bytes: [UInt8], _ unit: Int, _ index: Int) -> UInt64 {
    bytes.withUnsafeBytes {
      $0.loadUnaligned(fromByteOffset: unit * UnitModel.unit + index * 8, as: UInt64.self)
    }
  }

  /// A change is submitted.
  /// - Returns: its number.
  mutating func begin(_ range: Range<Int>, value: UInt64) -> Int {
    time += 1
    let number = changes.count
    changes.append(Change(value: value, range: range, begun: time))
    for unit in range {
      seen[unit].append(number)
      kept[unit].append(number)
    }
    return number
  }

  /// It is over.
  mutating func end(_ number: Int, failed: Bool, isDurable: Bool) {
    time += 1
    changes[number].ended = time
    changes[number].hasFailed = failed
    guard !failed else { return }
    let begun = changes[number].begun
    for unit in changes[number].range {
      seen[unit].removeAll { changes[$0].ended ?? .max < begun }
      if isDurable { kept[unit].removeAll { changes[$0].ended ?? .max < begun } }
    }
  }

  /// What a flush that begins now would make durable.
  func flushPoint() -> Int { time }

  /// A flush is over that began at that point.
  mutating func flushed(since point: Int) {
    for unit in kept.indices where kept[unit].count > 1 {
      let latest = kept[unit].reduce(0) { latest, number in
        let change = changes[number]
        return change.ended ?? .max <= point && !change.hasFailed ? max(latest, change.begun) : latest
      }
      kept[unit].removeAll { changes[$0].ended ?? .max < latest }
    }
  }

  /// What may be read of a unit now.
  func visible(_ unit: Int) -> [UInt64] { seen[unit].map { changes[$0].value } }

  /// The first unit that has what it must not have.
  func wrong(_ bytes: [UInt8], afterCrash: Bool, within ranges: [Range<Int>]? = nil) -> String? {
    for unit in (ranges ?? [seen.indices]).joined() {
      let numbers = afterCrash ? kept[unit] : seen[unit]
      let value = UnitModel.value(bytes, unit)
      if !numbers.contains(where: { changes[$0].value == value }) {
        return
          "unit \(unit): \(value.map(String.init) ?? "torn"), not of \(numbers.map { changes[$0].value })"
      }
    }
    return nil
  }
}
