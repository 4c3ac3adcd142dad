// One session of GnuTLS.
import CGnuTLS
import Glibc

/// The server's end of TLS on a socket; no call waits.
///
/// SAFETY: it owns the session, which reads and writes memory of the call it is in only, and keeps the
/// credentials, which the session points to.
struct TLSSession: ~Copyable {
  /// What a call has come to.
  enum Outcome: Equatable {
    /// So many bytes.
    case done(Int)
    /// The socket is to become readable or writable first.
    case waits(toWrite: Bool)
    /// The client sends no more.
    case end
    case failed(String)
  }

  private let session: gnutls_session_t
  private let credentials: TLSCredentials

  /// - Parameter socket: stays the caller's, and lives longer.
  init(_ credentials: TLSCredentials, socket: CInt) throws(TLSError) {
    var made: gnutls_session_t?
    try TLSError.check(
      gnutls_init(&made, UInt32(GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL)))
    guard let made else { throw TLSError(code: GNUTLS_E_MEMORY_ERROR) }
    do throws(TLSError) { try credentials.equip(made) } catch {
      gnutls_deinit(made)
      throw error
    }
    gnutls_transport_set_int2(made, socket, socket)
    session = made
    self.credentials = credentials
  }

  deinit { gnutls_deinit(session) }

  /// Goes on with the handshake; `.done` when it is over and the client is one that may come in.
  mutating func shakeHands() -> Outcome {
    var code: CInt = 0
    let outcome = repeating {
      code = gnutls_handshake(session)
      return Int(code)
    }
    switch outcome {
    case .done: break
    case .failed:
      // So that the client knows, too.
      _ = gnutls_alert_send_appropriate(session, code)
      return outcome
    case .waits, .end: return outcome
    }
    guard let complaint = complaintAboutCertificate() else { return outcome }
    _ = gnutls_alert_send(session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE)
    return .failed(complaint)
  }

  /// Why the client's certificate is not taken; nil if it need not have any.
  private func complaintAboutCertificate() -> String? {
    guard credentials.verifiesClients, gnutls_auth_get_type(session) == GNUTLS_CRD_CERTIFICATE else {
      return nil
    }
    var status: UInt32 = 0
    let code = gnutls_certificate_verify_peers2(session, &status)
    if code < 0 { return "\(TLSError(code: code))" }
    return status == 0 ? nil : Self.text(status)
  }

  /// Receives at most what `memory` holds.
  mutating func receive(into memory: UnsafeMutableRawBufferPointer) -> Outcome {
    let outcome = repeating { gnutls_record_recv(session, memory.baseAddress, memory.count) }
    return outcome == .done(0) ? .end : outcome
  }

  /// Sends some of the bytes; when it waits, it wants the same bytes again.
  mutating func send(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    repeating { gnutls_record_send(session, bytes.baseAddress, bytes.count) }
  }

  /// Says that nothing more is sent, as far as there is room for that.
  mutating func sayGoodbye() { _ = gnutls_bye(session, GNUTLS_SHUT_WR) }

  /// Calls again after what is no end; each time the client has sent something, or a signal has come.
  private func repeating(_ call: () -> Int) -> Outcome {
    while true {
      let result = call()
      switch CInt(clamping: result) {
      case 0...: return .done(result)
      case GNUTLS_E_AGAIN: return .waits(toWrite: gnutls_record_get_direction(session) == 1)
      // Renegotiation (TLS 1.2) need not be granted.
      case GNUTLS_E_INTERRUPTED, GNUTLS_E_WARNING_ALERT_RECEIVED, GNUTLS_E_REHANDSHAKE: continue
      // Gone without a word: as with any other client, its last request tells whether something is amiss.
      case GNUTLS_E_PREMATURE_TERMINATION: return .end
      case let code: return .failed("\(TLSError(code: code))")
      }
    }
  }

  /// What the bits of a verification say.
  private static func text(_ status: UInt32) -> String {
    var text = gnutls_datum_t()
    guard
      gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0,
      let data = text.data
    else { return "the certificate is not trusted" }
    // Which is what `gnutls_free` is, unless somebody gives GnuTLS another.
    defer { free(data) }
    return String(decoding: UnsafeBufferPointer(start: data, count: Int(text.size)), as: UTF8.self)
  }
}
