// Programs that we start and that never outlive us.
import CLinux
import Foundation
import Linux
import Testing

@Suite struct ChildProcessTests {
  private func shell(_ script: String, environment: [String]? = nil, output: CInt = 1) throws -> ChildProcess
  {
    try ChildProcess(
      path: "/bin/sh", arguments: ["-c", script], environment: environment, input: 0, output: output, error: 2
    )
  }

  private func end(of child: ChildProcess) -> Linux.ExitStatus? {
    guard waitReadable(child.descriptor.rawValue) else { return nil }
    return child.poll()
  }

  /// Waits for the end of any process; false after twenty seconds.
  private func waitForEnd(of pid: pid_t) -> Bool {
    let watch = CLinux_pidfd_open(pid)
    // Nobody has that number any more.
    guard watch >= 0 else { return errno == ESRCH }
    defer { close(watch) }
    return waitReadable(watch)
  }

  private func read(_ descriptor: borrowing Descriptor) -> String {
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = Glibc.read(descriptor.rawValue, &buffer, buffer.count)
      guard count > 0 else { return String(decoding: result, as: UTF8.self) }
      result += buffer[..<count]
    }
  }

  /// What a script prints to `output`, and how it ended.
  private func output(_ make: (CInt) throws -> ChildProcess) throws -> (String, Linux.ExitStatus?) {
    var ends: [CInt] = []
    try Descriptor.pipe().split { ends = [$0.release(), $1.release()] }
    let reader = Descriptor(owning: ends[0])
    let child: ChildProcess
    do {
      let writer = Descriptor(owning: ends[1])
      child = try make(writer.rawValue)
    }
    let text = read(reader)
    return (text, end(of: child))
  }

  @Test func itsStatusIsTold() throws {
    for code in [0, 1, 127, 255] as [CInt] {
      let child = try shell("exit \(code)")
      #expect(end(of: child) == .exited(code))
      #expect(child.status == .exited(code))
      #expect(child.poll() == .exited(code))
    }
    let killed = try shell("kill -TERM $$")
    #expect(end(of: killed) == .killed(signal: SIGTERM))
    #expect(killed.status?.description == "signal 15")
    #expect(Linux.ExitStatus.exited(3).description == "exit 3")
  }

  @Test func aProgramThatIsNotThereIsAnError() throws {
    do {
      _ = try ChildProcess(path: "/nowhere", arguments: [], input: 0, output: 1, error: 2)
      Issue.record("it started")
    } catch { #expect(error == LinuxError("exec", "/nowhere", code: ENOENT)) }
    do {
      _ = try ChildProcess(path: "/bin/sh", arguments: [], input: 0, output: -1, error: 2)
      Issue.record("it started")
    } catch { #expect(error.code == EBADF) }
  }

  @Test func aProgramThatDidNotStartIsCollected() async throws {
    await #expect(processExitsWith: .success) {
      // In a process that has no other children.
      do {
        _ = try ChildProcess(path: "/nowhere", arguments: [], input: 0, output: 1, error: 2)
        _exit(1)
      } catch {
        let result = waitpid(-1, nil, WNOHANG)
        _exit(result == -1 && errno == ECHILD ? 0 : 2)
      }
    }
  }

  @Test func argumentsAndEnvironmentArrive() throws {
    let (text, status) = try output { writer in
      try ChildProcess(
        path: "/bin/sh", arguments: ["-c", "echo \"$1|$2|$A\"", "sh", "a b", "ü"], environment: ["A=x y"],
        input: 0,
        output: writer, error: 2)
    }
    #expect(text == "a b|ü|x y\n")
    #expect(status == .exited(0))
    #expect(currentEnvironment().contains { $0.hasPrefix("PATH=") })
  }

  @Test func itHasAGroupOfItsOwn() throws {
    let (text, _) = try output { try shell("cut -d' ' -f5 /proc/$$/stat; echo $$", output: $0) }
    let lines = text.split(separator: "\n")
    try #require(lines.count == 2)
    #expect(lines[0] == lines[1])
  }

  @Test func itInheritsNoneOfOurDescriptorsButThoseThatAreMeantForIt() throws {
    let scratch = try Scratch()
    let loop = try EventLoop()
    let listener = try UnixListener(path: scratch.path + "/socket")
    let socket = try UnixSocket.connect(to: scratch.path + "/socket")
    let pipe = try Descriptor.pipe()
    let pair = try UnixSocket.pair()
    let memory = try makeSealedMemory(named: "test", count: 4096)
    let counter = try Descriptor.eventCounter()
    let copy = try counter.duplicate()
    let inherited = try counter.duplicate()
    try inherited.setInherited(true)
    var numbers = [
      listener.descriptor.rawValue, socket.descriptor.rawValue, pipe.reader.rawValue, pipe.writer.rawValue,
      pair.reader.rawValue, pair.writer.rawValue, memory.rawValue, counter.rawValue, copy.rawValue,
    ]
    if let accepted = try listener.accept() { numbers.append(try accepted.descriptor.duplicate().release()) }
    let (text, _) = try output { try shell("ls /proc/$$/fd", output: $0) }
    let seen = Set(text.split(separator: "\n").compactMap { CInt($0) })
    #expect(seen.isDisjoint(with: numbers.filter { $0 > 2 && $0 != 10 }))  // 10 is the shell's own
    #expect(seen.contains(inherited.rawValue))
    if let last = numbers.last { close(last) }
    _ = loop
  }

  @Test func noSignalIsBlockedInIt() throws {
    let (text, _) = try output { writer in
      try ChildProcess(
        path: "/bin/grep", arguments: ["SigBlk", "/proc/self/status"], input: 0, output: writer, error: 2)
    }
    #expect(text.split(separator: "\t").last == "0000000000000000\n")
  }

  @Test func addressesAreNotRandomisedWhenAsked() throws {
    let (text, _) = try output { writer in
      try ChildProcess(
        path: "/bin/cat", arguments: ["/proc/self/personality"], input: 0, output: writer, error: 2,
        withoutRandomisation: true)
    }
    #expect((UInt64(text.dropLast(), radix: 16) ?? 0) & 0x0040000 != 0)
  }

  @Test func killTakesWhatItStarted() throws {
    var ends: [CInt] = []
    try Descriptor.pipe().split { ends = [$0.release(), $1.release()] }
    let reader = Descriptor(owning: ends[0])
    let child = try shell("sleep 1000 & echo $!; wait", output: ends[1])
    close(ends[1])
    var buffer = [UInt8](repeating: 0, count: 64)
    let count = Glibc.read(reader.rawValue, &buffer, 64)
    let grandchild = try #require(pid_t(String(decoding: buffer[..<max(0, count - 1)], as: UTF8.self)))
    #expect(child.poll() == nil)
    child.kill()
    #expect(child.status == .killed(signal: SIGKILL))
    #expect(waitForEnd(of: grandchild))
  }

  @Test func anEndedProgramTakesWhatItStartedAlong() throws {
    let (text, status) = try output { try shell("sleep 1000 >/dev/null 2>&1 & echo $!", output: $0) }
    #expect(status == .exited(0))
    #expect(waitForEnd(of: try #require(pid_t(text.dropLast()))))
  }

  @Test func aProgramWithoutOwnerIsKilled() throws {
    var child: ChildProcess? = try shell("exec sleep 1000")
    let pid = try #require(child?.identifier)
    child = nil
    #expect(kill(pid, 0) == -1 && errno == ESRCH)
  }

  @Test func signalsReachTheProgram() throws {
    var ends: [CInt] = []
    try Descriptor.pipe().split { ends = [$0.release(), $1.release()] }
    let reader = Descriptor(owning: ends[0])
    let script = "exec 2>/dev/null; trap 'exit 7' USR1; echo ready; while :; do sleep 0.01; done"
    let child = try shell(script, output: ends[1])
    close(ends[1])
    #expect(waitReadable(reader.rawValue))
    child.signal(SIGUSR1)
    #expect(end(of: child) == .exited(7))
    child.signal(SIGUSR1)  // to nobody
  }

  @Test func aProgramDiesWithItsParent() async throws {
    let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
      // Not for long: this process goes, and its child has to go with it.
      let child = try ChildProcess(
        path: "/bin/sleep", arguments: ["1000"], input: 0, output: CLinux_duplicate(2), error: 2)
      print("pid \(child.identifier)")
      fflush(nil)
      _exit(0)
    }
    let text = String(decoding: result?.standardOutputContent ?? [], as: UTF8.self)
    let word = try #require(text.split(separator: "\n").first { $0.hasPrefix("pid ") })
    #expect(waitForEnd(of: try #require(pid_t(word.dropFirst(4)))))
  }

  @Test func aReaperHearsOfAProgramBeforeItRuns() throws {
    var ends: [CInt] = [-1, -1]
    try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
    defer { for end in ends { close(end) } }
    func spawn(_ path: String) -> pid_t {
      var arguments = [strdup(path), nil]
      defer { free(arguments[0]) }
      var environment: [UnsafeMutablePointer<CChar>?] = [nil]
      return CLinux_spawn(path, &arguments, &environment, nil, 0, 1, 2, false, ends[1])
    }
    func message() -> pid_t? {
      var message: pid_t = 0
      return recv(ends[0], &message, 4, UnixSocket.withoutWaiting) == 4 ? message : nil
    }
    // Nothing of this comes from the caller, who may die at any moment of it.
    let child = spawn("/bin/true")
    #expect(message() == child && message() == nil)
    waitpid(child, nil, 0)
    #expect(spawn("/nowhere") == -ENOENT)
    let started = try #require(message())
    #expect(message() == -started)
  }
}

@Suite struct SignalsTests {
  @Test func theyArriveAsReadableEvents() async throws {
    await #expect(processExitsWith: .success) {
      // In a process of its own: the signals stay blocked.
      let signals = try Signals([SIGUSR1, SIGTERM])
      let loop = try EventLoop()
      let early = signals.next()
      #expect(early == nil)
      pthread_kill(pthread_self(), SIGTERM)
      pthread_kill(pthread_self(), SIGUSR1)
      var isReady = false
      let token = try loop.add(signals.descriptor.rawValue) { isReady = true }
      try loop.runOnce(timeout: 20_000)
      #expect(isReady)
      var seen: Set<CInt> = []
      while let number = signals.next() { seen.insert(number) }
      #expect(seen == [SIGUSR1, SIGTERM])
      loop.remove(token)
      _exit(isReady && seen == [SIGUSR1, SIGTERM] ? 0 : 1)
    }
  }
}
