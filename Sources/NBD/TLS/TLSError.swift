// What GnuTLS says.
import CGnuTLS

/// A GnuTLS function that failed, as a value (gnutls.h, `GNUTLS_E_…`).
struct TLSError: Error, Equatable, CustomStringConvertible {
  let code: CInt

  var description: String { String(cString: gnutls_strerror(code)) }

  /// Throws what is no success.
  static func check(_ code: CInt) throws(TLSError) {
    if code < 0 { throw TLSError(code: code) }
  }
}
