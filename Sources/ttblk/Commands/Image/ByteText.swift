// Numbers of bytes, for people and from people.
import ArgumentParser

enum ByteText {
  private static let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]

  /// `1.0 MiB`
  static func short(_ count: UInt64) -> String {
    guard count >= 1024 else { return "\(count) B" }
    var unit = 0
    var tenths = count / 1024 * 10 + count % 1024 * 10 / 1024
    while tenths >= 10240, unit < units.count - 1 {
      tenths /= 1024
      unit += 1
    }
    return "\(tenths / 10).\(tenths % 10) \(units[unit])"
  }

  /// `1060864 bytes (1.0 MiB)`
  static func long(_ count: UInt64) -> String {
    count < 1024 ? "\(count) bytes" : "\(count) bytes (\(short(count)))"
  }
}

/// A number of bytes on the command line: `1048576`, `64k`, `10M`, `4GiB`; units are powers of 1024.
struct ByteCount: ExpressibleByArgument, Decodable {
  let bytes: UInt64

  init(bytes: UInt64) { self.bytes = bytes }

  init?(argument: String) {
    let digits = argument.prefix { $0.isNumber }
    let unit = argument.dropFirst(digits.count).lowercased()
    let names = ["", "k", "m", "g", "t", "p", "e"]
    guard let number = UInt64(digits),
      let power = names.firstIndex(where: { unit == $0 || unit == $0 + "ib" || unit == $0 + "b" })
    else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: 1 << (10 * UInt64(power)))
    guard !overflow else { return nil }
    bytes = product
  }

  var defaultValueDescription: String { String(bytes) }

  /// What `--cluster-size` may be.
  func requireClusterSize() throws {
    guard (512...(2 << 20)).contains(bytes), bytes.nonzeroBitCount == 1 else {
      throw ValidationError("--cluster-size is a power of two from 512 to 2M")
    }
  }
}
