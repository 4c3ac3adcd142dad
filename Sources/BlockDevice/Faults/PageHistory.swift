// What was there before.
import BlockIO
import Glibc

/// The former content of pages that were written, as far as memory allows: the oldest are forgotten.
struct PageHistory {
  private var pages: [UInt64: [UInt8]] = [:]
  /// In the order in which they came; those before `first` are gone.
  private var order: [UInt64] = []
  private var first = 0
  private let pagesMax: Int

  init(bytesMax: UInt64) { pagesMax = max(1, Int(clamping: bytesMax / Limits.faultPage)) }

  /// The present content of a page becomes its former one.
  mutating func remember(_ page: UInt64, _ bytes: [UInt8]) {
    if pages.updateValue(bytes, forKey: page) != nil { return }
    order.append(page)
    guard pages.count > pagesMax else { return }
    pages[order[first]] = nil
    first += 1
    if first > pagesMax {
      order.removeFirst(first)
      first = 0
    }
  }

  /// Puts former content over what was read.
  func overlay(_ parts: UnsafeBufferPointer<iovec>, from offset: UInt64, count: UInt64) {
    let end = offset + count
    var page = offset / Limits.faultPage
    while page * Limits.faultPage < end {
      if let bytes = pages[page] {
        let start = page * Limits.faultPage
        let (lower, upper) = (max(start, offset), min(start + UInt64(bytes.count), end))
        bytes.withUnsafeBytes {
          if lower < upper, let base = $0.baseAddress {
            parts.overwrite(at: lower - offset, count: upper - lower, with: base + Int(lower - start))
          }
        }
      }
      page += 1
    }
  }
}
