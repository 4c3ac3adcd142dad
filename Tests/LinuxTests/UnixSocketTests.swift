// Unix stream sockets, with descriptors in messages.
import Foundation
import Linux
import Testing

/// A directory for one test; removed with what is in it.
final class Scratch {
  let path: String
  init() throws {
    var template = Array((NSTemporaryDirectory() + "ttblk-XXXXXX").utf8CString)
    guard mkdtemp(&template) != nil else { throw LinuxError("mkdtemp", "") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// Two connected sockets.
private final class SocketPair {
  let a: UnixSocket
  let b: UnixSocket

  init() throws {
    var ends: [CInt] = []
    try UnixSocket.pair().split { ends = [$0.release(), $1.release()] }
    a = UnixSocket(owning: Descriptor(owning: ends[0]))
    b = UnixSocket(owning: Descriptor(owning: ends[1]))
  }
}

@Suite struct UnixSocketTests {
  private func connects(to path: String) -> CInt {
    do {
      _ = try UnixSocket.connect(to: path)
      return 0
    } catch { return error.code }
  }

  private func listenError(_ path: String) -> CInt {
    do {
      _ = try UnixListener(path: path)
      return 0
    } catch { return error.code }
  }

  @Test func aListenerAcceptsAndRemovesItsPath() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/socket"
    do {
      let listener = try UnixListener(path: path)
      let early = try listener.accept() == nil
      #expect(early)
      let client = try UnixSocket.connect(to: path)
      guard let server = try listener.accept() else {
        Issue.record("nobody connected")
        return
      }
      let sent = try [UInt8]("hello".utf8).withUnsafeBytes { bytes throws(LinuxError) in
        try client.send(bytes)
      }
      #expect(sent == 5)
      var buffer = [UInt8](repeating: 0, count: 10)
      let count = try buffer.withUnsafeMutableBytes { bytes throws(LinuxError) in
        try server.receive(into: bytes)
      }
      #expect(buffer[..<count] == ArraySlice("hello".utf8))
      #expect(access(path, F_OK) == 0)
    }
    #expect(access(path, F_OK) == -1)
  }

  @Test func aConnectionEndsWithItsOwnerThoughAProcessThatIsBeingStartedHoldsACopy() throws {
    var ends: [CInt] = []
    try UnixSocket.pair().split { ends = [$0.release(), $1.release()] }
    // What fork(2) in another thread makes, and execve(2) will close.
    let inherited = dup(ends[0])
    defer { close(inherited) }
    let peer = UnixSocket(owning: Descriptor(owning: ends[1]))
    do { _ = UnixSocket(owning: Descriptor(owning: ends[0])) }
    var byte: [UInt8] = [0]
    let count = try byte.withUnsafeMutableBytes { bytes throws(LinuxError) in
      try peer.receive(into: bytes, flags: UnixSocket.withoutWaiting)
    }
    #expect(count == 0)
  }

  @Test func aListenerLetsNobodyInWhenItsOwnerHasGone() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/socket"
    var inherited: CInt = -1
    defer { close(inherited) }
    do {
      let listener = try UnixListener(path: scratch.path + "/first")
      inherited = dup(listener.descriptor.rawValue)
      #expect(link(listener.path, path) == 0)
    }
    #expect(connects(to: path) == ECONNREFUSED)
  }

  @Test func anAbandonedSocketFileIsReplaced() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/socket"
    // A second name of a socket file is still there when its listener has gone, as after a SIGKILL.
    do {
      let killed = try UnixListener(path: path + ".first")
      #expect(link(killed.path, path) == 0)
    }
    #expect(access(path, F_OK) == 0)
    #expect(connects(to: path) == ECONNREFUSED)
    let listener = try UnixListener(path: path)
    #expect(connects(to: path) == 0)
    _ = consume listener
    #expect(access(path, F_OK) == -1)
  }

  @Test func aSocketThatIsListenedOnIsRefused() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/socket"
    let listener = try UnixListener(path: path)
    #expect(listenError(path) == EADDRINUSE)
    #expect(connects(to: path) == 0)
    _ = consume listener
  }

  @Test func anythingElseAtThePathIsRefusedAndLeftAlone() throws {
    let scratch = try Scratch()
    let file = scratch.path + "/file"
    try "contents".write(toFile: file, atomically: false, encoding: .utf8)
    #expect(listenError(file) == EADDRINUSE)
    #expect(try String(contentsOfFile: file, encoding: .utf8) == "contents")
    let link = scratch.path + "/link"
    #expect(symlink("/nowhere", link) == 0)
    #expect(listenError(link) == EADDRINUSE)
    #expect(listenError(scratch.path) == EADDRINUSE)
    #expect(listenError(scratch.path + "/none/socket") == ENOENT)
  }

  @Test func aPathTooLongIsRefused() throws {
    let scratch = try Scratch()
    let room = UnixSocket.pathLengthMax - scratch.path.utf8.count - 1
    let fits = scratch.path + "/" + String(repeating: "a", count: room)
    #expect(fits.utf8.count == UnixSocket.pathLengthMax)
    #expect(listenError(fits) == 0)
    #expect(listenError(fits + "a") == ENAMETOOLONG)
    #expect(connects(to: fits + "a") == ENAMETOOLONG)
    #expect(LinuxError("bind", "/x", code: ENAMETOOLONG).description == "bind '/x': File name too long")
  }

  @Test func aListenerRemovesOnlyItsOwnFile() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/socket"
    do {
      let listener = try UnixListener(path: path)
      #expect(rename(path, path + ".old") == 0)
      try "mine".write(toFile: path, atomically: false, encoding: .utf8)
      _ = consume listener
    }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "mine")
  }

  @Test func descriptorsPassWithTheirMessage() throws {
    let pair = try SocketPair()
    let pipe = try Descriptor.pipe()
    for count in [0, 1, 2, Limits.descriptorsPerMessage] {
      let sent = Array(repeating: pipe.writer.rawValue, count: count)
      _ = try [UInt8](repeating: 9, count: 16).withUnsafeBytes { bytes throws(LinuxError) in
        try pair.a.send(bytes, descriptors: sent)
      }
      var received: [CInt] = []
      var buffer = [UInt8](repeating: 0, count: 16)
      let length = try buffer.withUnsafeMutableBytes { bytes throws(LinuxError) in
        try pair.b.receive(into: bytes, take: { received.append($0.release()) })
      }
      #expect(length == 16)
      #expect(received.count == count)
      for (index, one) in received.enumerated() {
        #expect(fcntl(one, F_GETFD) & FD_CLOEXEC != 0)
        var byte = UInt8(index)
        #expect(write(one, &byte, 1) == 1)
        #expect(read(pipe.reader.rawValue, &byte, 1) == 1 && byte == UInt8(index))
        close(one)
      }
    }
    do {
      let tooMany = Array(repeating: pipe.writer.rawValue, count: Limits.descriptorsPerMessage + 1)
      _ = try [UInt8(1)].withUnsafeBytes { bytes throws(LinuxError) in
        try pair.a.send(bytes, descriptors: tooMany)
      }
      Issue.record("33 descriptors were sent")
    } catch { #expect((error as? LinuxError)?.code == EINVAL) }
  }

  @Test func descriptorsThatAreNotAskedForAreClosed() throws {
    let pair = try SocketPair()
    var ends: [CInt] = []
    try Descriptor.pipe().split { ends = [$0.release(), $1.release()] }
    let reader = Descriptor(owning: ends[0])
    _ = try [UInt8(1)].withUnsafeBytes { bytes throws(LinuxError) in
      try pair.a.send(bytes, descriptors: [ends[1]])
    }
    close(ends[1])
    var buffer: [UInt8] = [0]
    _ = try buffer.withUnsafeMutableBytes { bytes throws(LinuxError) in try pair.b.receive(into: bytes) }
    // The last writer is gone: the end of the file, and no wait.
    #expect(read(reader.rawValue, &buffer, 1) == 0)
  }

  @Test func aPeerThatHasGoneIsAnErrorAndNoSignal() throws {
    let pair = try SocketPair()
    shutdown(pair.b.descriptor.rawValue, CInt(SHUT_RDWR))
    do {
      _ = try [UInt8(1)].withUnsafeBytes { bytes throws(LinuxError) in try pair.a.send(bytes) }
      Issue.record("sent to nobody")
    } catch { #expect((error as? LinuxError)?.code == EPIPE) }
  }
}

/// Waits until a descriptor is readable; false after twenty seconds.
func waitReadable(_ descriptor: CInt) -> Bool {
  var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  return poll(&entry, 1, 20_000) == 1
}
