// Points in time, for people and for names of files.
import Glibc

/// A time to the second, in UTC.
struct UTCTime {
  private let fields: tm

  /// - Parameter seconds: since 1970.
  init(_ seconds: Int64) {
    var seconds = time_t(seconds)
    var fields = tm()
    gmtime_r(&seconds, &fields)
    self.fields = fields
  }

  static var now: UTCTime { UTCTime(Int64(time(nil))) }

  /// `20261124-135144`
  var compact: String {
    let date = [padded(fields.tm_year + 1900, 4), padded(fields.tm_mon + 1), padded(fields.tm_mday)]
    return date.joined() + "-" + clock.joined()
  }

  /// `2026-11-24 13:51:44`
  var readable: String {
    let date = [padded(fields.tm_year + 1900, 4), padded(fields.tm_mon + 1), padded(fields.tm_mday)]
    return date.joined(separator: "-") + " " + clock.joined(separator: ":")
  }

  private var clock: [String] { [padded(fields.tm_hour), padded(fields.tm_min), padded(fields.tm_sec)] }

  private func padded(_ number: CInt, _ width: Int = 2) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}
