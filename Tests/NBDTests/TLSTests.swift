// TLS: with the clients that people use, and with those that do not keep to the rules.
import BlockIO
import Glibc
import Testing

@testable import NBD

/// Keys and certificates in a folder, made by openssl(1), and how tools are told of them.
struct Secrets {
  let scratch: Scratch
  static let size = 8 << 20

  /// - Parameter who: those who get a certificate of the authority, each in a folder of its own.
  init(_ scratch: Scratch, certificates who: [String] = []) {
    self.scratch = scratch
    scratch.shell(
      """
      echo "bob:00ff" > keys
      echo "alice:$(openssl rand -hex 32)" >> keys
      echo "alice:$(openssl rand -hex 32)" > wrong-keys
      head -c \(Self.size) /dev/urandom > a
      cp a copy
      truncate -s \(Self.size) b
      """)
    guard !who.isEmpty else { return }
    scratch.shell(
      """
      new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
      openssl req -x509 $new -keyout ca-key.pem -out ca-cert.pem -days 2 -subj /CN=authority
      echo subjectAltName=IP:127.0.0.1 > names
      for who in \(who.joined(separator: " ")); do
        mkdir -p $who
        cp ca-cert.pem $who
        role=client; [ $who != server ] || role=server
        openssl req $new -keyout $who/$role-key.pem -out request -subj /CN=$who
        openssl x509 -req -in request -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 \
          -extfile names -out $who/$role-cert.pem
      done
      mkdir -p nobody
      cp ca-cert.pem nobody
      mkdir -p stranger
      cp ca-cert.pem stranger
      openssl req -x509 $new -keyout stranger/client-key.pem -out stranger/client-cert.pem -days 2 -subj /CN=x
      """)
  }

  /// A server on a Unix socket whose clients have keys.
  func keyServer() throws -> TestServer {
    try TestServer(scratch, disks: ["a", "b"], tls: TLSCredentials.Files(keys: scratch.file("keys")))
  }

  /// A server on a port that has a certificate.
  func certificateServer(verifies: Bool = false) throws -> TestServer {
    try TestServer(
      scratch, disks: ["a", "b"], engine: .uring, address: .tcp(host: "127.0.0.1", port: 0),
      tls: TLSCredentials.Files(certificates: scratch.file("server"), verifiesClients: verifies))
  }

  /// What libnbd calls an export.
  func uri(_ server: TestServer, _ export: String, with secret: String) -> String {
    switch server.address {
    case .unix(let path): "nbds+unix://alice@/\(export)?socket=\(path)&tls-psk-file=\(scratch.file(secret))"
    case .tcp(_, let port): "nbds://127.0.0.1:\(port)/\(export)?tls-certificates=\(scratch.file(secret))"
    }
  }
}

@Suite("TLS") struct TLSTests {
  let scratch = Scratch()

  @Test("libnbd copies in both directions", arguments: [false, true])
  func copies(certificates: Bool) throws {
    let secrets = Secrets(scratch, certificates: certificates ? ["server", "client"] : [])
    let server = try certificates ? secrets.certificateServer() : secrets.keyServer()
    let secret = certificates ? "client" : "keys"
    let (a, b) = (secrets.uri(server, "a", with: secret), secrets.uri(server, "b", with: secret))
    #expect(scratch.shell("nbdinfo '\(a)'").contains("newstyle-fixed with TLS, using structured packets"))
    scratch.shell(
      """
      nbdcopy '\(a)' out
      cmp out copy
      nbdcopy --connections=4 --flush copy '\(b)'
      nbdcopy --connections=4 '\(a)' '\(b)'
      """)
    #expect(server.eventually { server.connectionCount == 0 })
    server.close()
    #expect(scratch.bytes("b") == scratch.bytes("copy"))
    #expect(server.lines.all == [])
  }

  @Test func `qemu-img reads and writes, with a certificate of its own`() throws {
    let secrets = Secrets(scratch, certificates: ["server", "client"])
    let server = try secrets.certificateServer(verifies: true)
    guard case .tcp(_, let port) = server.address else { return }
    let object = "--object tls-creds-x509,id=t,endpoint=client,dir=\(scratch.file("client"))"
    func options(_ export: String) -> String {
      "driver=nbd,server.type=inet,server.host=127.0.0.1,server.port=\(port),tls-creds=t,export=\(export)"
    }
    scratch.shell(
      """
      qemu-img convert \(object) --image-opts \(options("a")) -O raw out
      cmp out copy
      qemu-img convert \(object) -n --target-image-opts copy \(options("b"))
      qemu-img compare \(object) --image-opts \(options("a")) \(options("b"))
      """)
    server.close()
    #expect(server.lines.all == [])
  }

  @Test func `who has no key, another one, or no name here is sent away`() throws {
    let secrets = Secrets(scratch)
    let server = try secrets.keyServer()
    let good = secrets.uri(server, "a", with: "keys")
    scratch.shell(
      """
      ! nbdinfo '\(server.uri("a"))' || exit 1
      ! nbdinfo '\(secrets.uri(server, "a", with: "wrong-keys"))' || exit 1
      sed s/alice/carol/ keys > unknown
      ! nbdinfo '\(secrets.uri(server, "a", with: "unknown").replacing("alice@", with: "carol@"))' || exit 1
      nbdinfo --size '\(good)'
      """)
    #expect(server.eventually { server.connectionCount == 0 })
    server.close()
    #expect(server.lines.all.count == 2, "\(server.lines.all)")
    #expect(server.lines.all.allSatisfy { $0.contains(": TLS: ") }, "\(server.lines.all)")
  }

  @Test func `who has no certificate of the authority, or a revoked one, is sent away`() throws {
    let secrets = Secrets(scratch, certificates: ["server", "client", "revoked"])
    scratch.shell(
      """
      mkdir ca
      : > ca/index
      echo 01 > ca/number
      printf '%s\\n' '[ca]' default_ca=d '[d]' database=ca/index crlnumber=ca/number default_md=sha256 \\
        default_crl_days=2 > ca/conf
      openssl ca -config ca/conf -cert ca-cert.pem -keyfile ca-key.pem -revoke revoked/client-cert.pem
      openssl ca -config ca/conf -cert ca-cert.pem -keyfile ca-key.pem -gencrl -out server/ca-crl.pem
      """)
    let server = try secrets.certificateServer(verifies: true)
    for who in ["nobody", "stranger", "revoked"] {
      scratch.shell("! nbdinfo '\(secrets.uri(server, "a", with: who))' || exit 1")
    }
    scratch.shell("nbdinfo --size '\(secrets.uri(server, "a", with: "client"))'")
    #expect(server.eventually { server.connectionCount == 0 })
    server.close()
    #expect(server.lines.all.count == 3, "\(server.lines.all)")
  }

  @Test func `a server without verification lets in who has no certificate`() throws {
    let secrets = Secrets(scratch, certificates: ["server"])
    let server = try secrets.certificateServer()
    scratch.shell("nbdinfo --size '\(secrets.uri(server, "a", with: "nobody"))'")
    server.close()
    #expect(server.lines.all == [])
  }

  /// A client that has agreed on TLS and has not begun.
  private func agreed(_ server: TestServer) throws -> TestClient {
    let client = try TestClient(server.address)
    try client.greet()
    #expect(try client.ask(.startTLS).map(\.type) == [OptionReplyType.acknowledged.rawValue])
    return client
  }

  @Test func `garbage, silence and a sudden end cost one client`() throws {
    let server = try Secrets(scratch).keyServer()
    let garbage = try agreed(server)
    try garbage.send([UInt8](repeating: 0x5a, count: 4096))
    #expect(garbage.isSentAway())
    // What follows the option in one piece was sent before TLS, by whoever.
    let injected = try TestClient(server.address)
    try injected.greet()
    try injected.send(TestClient.option(5) + TestClient.option(3))
    #expect(injected.isSentAway())
    try agreed(server).close()
    let half = try agreed(server)
    try half.send([0x16, 3, 1])
    half.close()
    let silent = try agreed(server)
    #expect(server.eventually { server.connectionCount == 1 })
    // Nobody waits for it.
    server.close()
    #expect(silent.isSentAway())
    #expect(server.lines.all.count == 2, "\(server.lines.all)")
  }

  /// Asks for 256 MiB, takes none of it, says so, and sleeps.
  private static let sleeper = """
    import nbd, sys, time
    client = nbd.NBD()
    client.set_uri_allow_local_file(True)
    client.connect_uri(sys.argv[1])
    for _ in range(64): client.aio_pread(nbd.Buffer(4 << 20), 0)
    print("asked", flush=True)
    time.sleep(1000)
    """

  @Test("a client that does not read keeps nobody waiting for long", arguments: [false, true])
  func sleeper(isKilled: Bool) throws {
    let secrets = Secrets(scratch)
    let server = try secrets.keyServer()
    scratch.write("sleeper.py", Array(Self.sleeper.utf8))
    defer { scratch.shell("kill -KILL $(cat number) || true") }
    scratch.shell(
      """
      /usr/bin/python3 sleeper.py '\(secrets.uri(server, "a", with: "keys"))' > said 2>&1 &
      echo $! > number
      until grep -q asked said; do sleep 0.05; done
      """)
    #expect(server.connectionCount == 1)
    if isKilled {
      scratch.shell("kill -KILL $(cat number)")
      #expect(server.eventually { server.connectionCount == 0 })
    }
    server.close()
  }

  @Test("credentials that are of no use are an error that names the file")
  func credentials() throws {
    _ = Secrets(scratch, certificates: ["server"])
    func complaint(_ files: TLSCredentials.Files) -> String? {
      do throws(NBDError) { _ = try TLSCredentials(files) } catch { return "\(error)" }
      return nil
    }
    func keys(_ text: String) -> String? {
      scratch.write("k", Array(text.utf8))
      return complaint(TLSCredentials.Files(keys: scratch.file("k")))?
        .replacing("TLS cannot use '\(scratch.file("k"))': ", with: "")
    }
    let shape = "is not USER:KEY with a key of hexadecimal digits"
    #expect(keys("a:00\nb:ff0A\n") == nil)
    #expect(keys("") == "it has no key")
    #expect(keys("a:00\nb\n") == "line 2 \(shape)")
    #expect(keys("a:0\n") == "line 1 \(shape)")
    #expect(keys("a:\n") == "line 1 \(shape)")
    #expect(keys(":00\n") == "line 1 \(shape)")
    #expect(keys("a:xy\n") == "line 1 \(shape)")
    #expect(
      complaint(TLSCredentials.Files(keys: "/nowhere"))
        == "TLS cannot use '/nowhere': No such file or directory")
    let folder = scratch.file("server")
    #expect(complaint(TLSCredentials.Files(certificates: folder, verifiesClients: true)) == nil)
    scratch.shell("cp ca-cert.pem server/ca-crl.pem")
    #expect(
      complaint(TLSCredentials.Files(certificates: folder, verifiesClients: true))?
        .hasPrefix("TLS cannot use '\(folder)/ca-crl.pem': ") == true)
    unlink(scratch.file("server/ca-crl.pem"))
    for name in ["server-cert.pem", "server-key.pem", "ca-cert.pem"] {
      let whole = scratch.bytes("server/\(name)")
      scratch.write("server/\(name)", Array("junk".utf8))
      let files = TLSCredentials.Files(certificates: folder, verifiesClients: true)
      #expect(complaint(files)?.hasPrefix("TLS cannot use '\(folder)/") == true)
      unlink(scratch.file("server/\(name)"))
      #expect(complaint(files) == "TLS cannot use '\(folder)/\(name)': No such file or directory")
      scratch.write("server/\(name)", whole)
    }
  }
}
