// Clients that do not keep to the rules.
import BlockDevice
import BlockIO
import Glibc
import Simulation
import Testing

@testable import NBD

@Suite("A hostile client") struct HostileTests {
  /// A server that must serve others all the while, and say at most so many lines.
  private func withServer(
    lines: ClosedRange<Int> = 0...1, _ body: (TestServer) throws -> Void
  ) throws {
    let scratch = Scratch()
    _ = CommandTests.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"])
    let other = try TestClient(server.address)
    try other.enter()
    try body(server)
    #expect(try other.read(0, 4096)?.count == 4096)
    other.close()
    #expect(server.eventually { server.connectionCount == 0 }, "connections are left")
    server.close()
    #expect(lines.contains(server.lines.all.count), "\(server.lines.all)")
  }

  @Test func `is sent away for what is no NBD`() throws {
    try withServer(lines: 3...3) { server in
      for bytes in [[UInt8](repeating: 0xff, count: 40), [0, 0, 0, 3] + [UInt8](repeating: 7, count: 40)] {
        let client = try TestClient(server.address)
        _ = try client.receive(18)
        try client.send(bytes)
        #expect(client.isSentAway())
      }
      let client = try TestClient(server.address)
      try client.enter()
      try client.send([UInt8](repeating: 7, count: 28))
      #expect(client.isSentAway())
    }
  }

  @Test func `may go at any byte`() throws {
    try withServer(lines: 0...12) { server in
      var talk: [UInt8] = [0, 0, 0, 3] + TestClient.option(8)
      talk += TestClient.option(7, TestClient.exportQuery("d"))
      let handshake = talk.count
      RequestHeader(.write, cookie: 1, offset: 8, length: 40).encode(into: &talk)
      talk += [UInt8](repeating: 1, count: 40)
      RequestHeader(.flush, cookie: 2).encode(into: &talk)
      for end in 0...talk.count {
        let client = try TestClient(server.address)
        // Requests wait for the end of the handshake, as they must.
        try client.send(Array(talk[..<min(end, handshake)]))
        if end > handshake {
          _ = try client.receive(18)
          _ = try client.answers()
          _ = try client.answers()
          try client.send(Array(talk[handshake..<end]))
        }
        client.close()
        #expect(server.eventually { server.connectionCount <= 1 }, "after \(end) bytes")
      }
    }
  }

  @Test func `may send requests before the end of the handshake`() throws {
    try withServer { server in
      let client = try TestClient(server.address)
      client.hasStructuredReplies = false
      _ = try client.receive(18)
      var bytes: [UInt8] = [0, 0, 0, 3] + TestClient.option(1)
      RequestHeader(.read, cookie: 5, offset: 0, length: 16).encode(into: &bytes)
      RequestHeader(.disconnect, cookie: 6).encode(into: &bytes)
      try client.send(bytes)
      _ = try client.receive(10)
      #expect(try client.collect(5, 0, 16).bytes?.count == 16)
      #expect(client.isSentAway())
    }
  }

  @Test func `gets errors for bad requests, and the stream stays in step`() throws {
    try withServer { server in
      for structured in [false, true] {
        let client = try TestClient(server.address)
        try client.enter(structured: structured)
        let invalid = ErrorCode.invalid.rawValue
        #expect(try client.perform(.read, .max, 4) == invalid)
        #expect(try client.perform(.read, 0, .max) == invalid)
        #expect(try client.perform(.read, 0, 4, flags: .noHole) == invalid)
        #expect(try client.write(UInt64(CommandTests.size), [1]) == ErrorCode.noSpace.rawValue)
        #expect(try client.write(0, [1, 2, 3], flags: .df) == invalid)
        #expect(try client.write(.max, [UInt8](repeating: 1, count: 100_000)) == ErrorCode.noSpace.rawValue)
        #expect(try client.perform(.flush, 1, 0) == invalid)
        var unknown = RequestHeader(.read, cookie: 99)
        unknown.command = 77
        var bytes: [UInt8] = []
        unknown.encode(into: &bytes)
        try client.send(bytes)
        #expect(try client.answer().answer.error == invalid)
        #expect(try client.read(0, 1 << 17)?.count == 1 << 17)
        try client.request(.disconnect)
        #expect(client.isSentAway())
      }
    }
  }

  @Test func `has a write of 33 MiB read to its end, and none of 65 MiB`() throws {
    try withServer { server in
      let client = try TestClient(server.address)
      try client.enter()
      let length: UInt32 = 33 << 20
      #expect(
        try client.perform(.write, 0, length, data: [UInt8](repeating: 0, count: Int(length)))
          == ErrorCode.noSpace.rawValue)
      #expect(try client.read(0, 16)?.count == 16)
      try client.request(.write, 0, 65 << 20)
      #expect(client.isSentAway())
    }
  }

  @Test func `floods with options, and is sent away`() throws {
    try withServer { server in
      let client = try TestClient(server.address)
      try client.greet()
      for _ in 0..<300 { try? client.send(TestClient.option(3)) }
      #expect(client.isSentAway())
    }
  }

  @Test func `says nothing, and others come and go`() throws {
    try withServer { server in
      let silent = try (0..<10).map { _ in try TestClient(server.address) }
      #expect(server.eventually { server.connectionCount == 11 })
      for client in silent { client.close() }
    }
  }

  @Test func `comes too often, and the last ones are turned away`() throws {
    try withServer(lines: 1...10) { server in
      var clients: [TestClient] = []
      for _ in 0..<Limits.connectionsMax - 1 {
        let client = try TestClient(server.address)
        try client.greet()
        clients.append(client)
      }
      for _ in 0..<4 { #expect(try TestClient(server.address).isSentAway()) }
      for client in clients { client.close() }
      #expect(server.eventually { server.connectionCount == 1 })
      let client = try TestClient(server.address)
      try client.enter()
    }
  }

  @Test func `does not read its replies: it waits, and holds up nobody else`() throws {
    try withServer(lines: 0...2) { server in
      let client = try TestClient(server.address)
      try client.enter(structured: false)
      client.setPatience(seconds: 1)
      var sent = 0
      // Replies of far more memory than anybody has.
      do {
        while sent < 100_000 {
          try client.request(.read, 0, 1 << 20)
          sent += 1
        }
      } catch {}
      #expect(sent < 100_000, "the server took everything")
      let other = try TestClient(server.address)
      try other.enter()
      for _ in 0..<20 { #expect(try other.read(0, 1 << 16)?.count == 1 << 16) }
      // What it then reads is in order.
      client.setPatience(seconds: 10)
      for _ in 0..<min(sent, 100) {
        let (answer, data) = try client.answer(1 << 20)
        #expect(answer.error == 0 && data.count == 1 << 20)
      }
      client.close()
      other.close()
    }
  }

  @Test func `sends a request byte by byte`() throws {
    try withServer { server in
      let client = try TestClient(server.address)
      try client.enter()
      var bytes: [UInt8] = []
      RequestHeader(.write, cookie: 4, offset: 5, length: 3).encode(into: &bytes)
      for byte in bytes + [1, 2, 3] { try client.send([byte]) }
      #expect(try client.answer().answer == .simple(cookie: 4, error: 0))
      #expect(try client.read(5, 3) == [1, 2, 3])
    }
  }

  @Test func `many requests at once with one cookie are all answered`() throws {
    try withServer { server in
      let client = try TestClient(server.address)
      try client.enter()
      var bytes: [UInt8] = []
      for _ in 0..<1000 {
        RequestHeader(.writeZeroes, cookie: 9, offset: 0, length: 512).encode(into: &bytes)
      }
      try client.send(bytes)
      for _ in 0..<1000 { #expect(try client.answer().answer == .simple(cookie: 9, error: 0)) }
    }
  }

  @Test func `an engine that cannot be had is told to the client`() throws {
    let scratch = Scratch()
    _ = CommandTests.disk(scratch)
    let server = try TestServer(
      scratch, disks: ["d"],
      makeEngine: { () throws(BlockIOError) in throw .notDirect(path: "d", code: EINVAL) })
    let client = try TestClient(server.address)
    try client.greet()
    #expect(try client.ask(.go, TestClient.exportQuery("d")).ending == .platform)
    #expect(try client.ask(.abort).ending == .acknowledged)
    server.close()
    #expect(server.lines.all.count == 1)
  }
}

@Suite("The end of a server") struct ShutdownTests {
  @Test func `finishes what is under way, answers ESHUTDOWN, and lets everybody go`() throws {
    let scratch = Scratch()
    let bytes = CommandTests.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"], engine: .threads)
    let idle = try TestClient(server.address)
    let silent = try TestClient(server.address)
    try idle.enter()
    let busy = try TestClient(server.address)
    try busy.enter(structured: false)
    for index in 0..<40 {
      try busy.request(.write, UInt64(index * 4096), 4096, data: [UInt8](repeating: 5, count: 4096))
    }
    #expect(try busy.answer().answer.error == 0)
    let half = try TestClient(server.address)
    try half.enter()
    try half.request(.write, 0, 4096, data: [1, 2, 3])
    server.close()
    var answers: [UInt32] = [0]
    while let (answer, _) = try? busy.answer() { answers.append(answer.error) }
    #expect(answers.allSatisfy { $0 == 0 || $0 == ErrorCode.shutdown.rawValue })
    #expect(busy.isSentAway() && idle.isSentAway() && silent.isSentAway() && half.isSentAway())
    #expect(access(scratch.file("nbd"), F_OK) != 0)
    let after = scratch.bytes("d")
    let written = (0..<40).filter { after[$0 * 4096] == 5 }
    #expect(written.count >= answers.count { $0 == 0 })
    for index in 0..<40 where !written.contains(index) {
      #expect(after[index * 4096] == bytes[index * 4096])
    }
  }

  @Test func `does not wait for ever for a client that does not read`() throws {
    let scratch = Scratch()
    _ = CommandTests.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"], engine: .uring)
    let client = try TestClient(server.address)
    try client.enter(structured: false)
    client.setPatience(seconds: 1)
    for _ in 0..<64 { try client.request(.read, 0, 1 << 20) }
    server.close()
  }

  @Test func `addresses are taken once, and named`() throws {
    let scratch = Scratch()
    _ = CommandTests.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"], address: .tcp(host: nil, port: 0))
    guard case .tcp(nil, let port) = server.address, port != 0 else {
      Issue.record("\(server.address)")
      return
    }
    let client = try TestClient(server.address)
    try client.enter("d")
    #expect(throws: NBDError.self) {
      _ = try Listener.listen(on: .tcp(host: "127.0.0.1", port: port))
    }
    #expect(throws: NBDError.self) {
      _ = try Listener.listen(on: .tcp(host: "no.such.host.invalid", port: 1))
    }
  }
}
