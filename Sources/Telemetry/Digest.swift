// Digests of what happened and of what disks hold.
internal import CXXHash

/// A 128-bit digest of a stream of bytes (XXH3-128, libxxhash), not for secrets.
package final class Digest {
  private let state: OpaquePointer

  package init() {
    guard let state = XXH3_createState() else { preconditionFailure("out of memory") }
    self.state = state
    XXH3_128bits_reset(state)
  }

  deinit { XXH3_freeState(state) }

  package func update(_ bytes: UnsafeRawBufferPointer) {
    XXH3_128bits_update(state, bytes.baseAddress, bytes.count)
  }

  /// 32 hexadecimal digits; more bytes may follow.
  package var hexadecimal: String {
    let value = XXH3_128bits_digest(state)
    return Self.hexadecimal(value.high64) + Self.hexadecimal(value.low64)
  }

  private static func hexadecimal(_ word: UInt64) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
