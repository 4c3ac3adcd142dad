// Who we are to clients over TLS, and who they may be.
import CGnuTLS
import Glibc
import Linux

/// A certificate, keys shared with clients, or both; with either of them a server talks TLS and nothing else
/// ("FORCEDTLS mode").
///
/// SAFETY, and `@unchecked`: nothing is changed once it is made, and GnuTLS lets many sessions use it at a
/// time.
package final class TLSCredentials: @unchecked Sendable {
  /// Where they are, in the files that QEMU, nbdkit and libnbd use.
  package struct Files: Equatable, Sendable {
    /// A folder with `server-cert.pem` and `server-key.pem`, and maybe `ca-cert.pem` and `ca-crl.pem`.
    package var certificates: String?
    /// A file with lines `USER:KEY`, the key in hexadecimal digits (psktool(1)).
    package var keys: String?
    /// Clients without a shared key must have a certificate that `ca-cert.pem` has signed.
    package var verifiesClients: Bool

    /// Whether nothing is asked for.
    package var isEmpty: Bool { self == Files() }

    package init(certificates: String? = nil, keys: String? = nil, verifiesClients: Bool = false) {
      self.certificates = certificates
      self.keys = keys
      self.verifiesClients = verifiesClients
    }
  }

  let verifiesClients: Bool
  private var certificate: gnutls_certificate_credentials_t?
  private var keys: gnutls_psk_server_credentials_t?

  /// Reads the files.
  package init(_ files: Files) throws(NBDError) {
    verifiesClients = files.verifiesClients
    if let folder = files.certificates { try loadCertificates(folder) }
    if let path = files.keys {
      try Self.checkKeys(path)
      try Self.check(path, gnutls_psk_allocate_server_credentials(&keys))
      try Self.check(path, gnutls_psk_set_server_credentials_file(keys, path))
    }
  }

  /// GnuTLS reads the file when a client comes, and would send it away without a word about the file.
  private static func checkKeys(_ path: String) throws(NBDError) {
    let bytes: [UInt8]
    do throws(LinuxError) { bytes = try readFile(path, limit: Limits.keyFileBytesMax) } catch {
      throw .credentials(path, error.reason)
    }
    var hasKey = false
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() where !line.isEmpty {
      // A name may have colons in hexadecimal form only (`#…`), which the last colon ends as well.
      guard let colon = line.lastIndex(of: UInt8(ascii: ":")), colon > line.startIndex,
        case let key = line[(colon + 1)...], !key.isEmpty, key.count % 2 == 0,
        key.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit })
      else { throw .credentials(path, "line \(index + 1) is not USER:KEY with a key of hexadecimal digits") }
      hasKey = true
    }
    guard hasKey else { throw .credentials(path, "it has no key") }
  }

  deinit {
    if let certificate { gnutls_certificate_free_credentials(certificate) }
    if let keys { gnutls_psk_free_server_credentials(keys) }
  }

  private func loadCertificates(_ folder: String) throws(NBDError) {
    let (own, key) = ("\(folder)/server-cert.pem", "\(folder)/server-key.pem")
    let (authority, revoked) = ("\(folder)/ca-cert.pem", "\(folder)/ca-crl.pem")
    for path in verifiesClients ? [own, key, authority] : [own, key] where access(path, R_OK) != 0 {
      throw .credentials(path, String(cString: strerror(errno)))
    }
    try Self.check(folder, gnutls_certificate_allocate_credentials(&certificate))
    try Self.check(own, gnutls_certificate_set_x509_key_file(certificate, own, key, GNUTLS_X509_FMT_PEM))
    guard verifiesClients else { return }
    try Self.check(
      authority, gnutls_certificate_set_x509_trust_file(certificate, authority, GNUTLS_X509_FMT_PEM),
      atLeast: 1)
    guard access(revoked, F_OK) == 0 else { return }
    try Self.check(
      revoked, gnutls_certificate_set_x509_crl_file(certificate, revoked, GNUTLS_X509_FMT_PEM), atLeast: 1)
  }

  /// Throws what is no success, or fewer things than a file has to have.
  private static func check(_ path: String, _ code: CInt, atLeast count: CInt = 0) throws(NBDError) {
    if code < 0 { throw .credentials(path, "\(TLSError(code: code))") }
    if code < count { throw .credentials(path, "nothing of use is in it") }
  }

  /// Gives a session what it needs of us.
  func equip(_ session: gnutls_session_t) throws(TLSError) {
    // Nothing older than TLS 1.2 ("TLS versions"). With a shared key clients of GnuTLS would rather have
    // ChaCha20, which takes three times as long as AES where the processor has instructions for that.
    var priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
    priority += ":-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:%SERVER_PRECEDENCE"
    if keys != nil { priority += ":+ECDHE-PSK:+DHE-PSK:+PSK" }
    try TLSError.check(gnutls_priority_set_direct(session, priority, nil))
    if let certificate {
      try TLSError.check(
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(certificate)))
    }
    if let keys {
      try TLSError.check(gnutls_credentials_set(session, GNUTLS_CRD_PSK, UnsafeMutableRawPointer(keys)))
    }
    if verifiesClients { gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE) }
  }
}
