// Nothing simulated depends on the host: not on its clock, its entropy, or the seeds of hash tables.
import Testing

@Suite("The simulated path") struct DeterminismTests {
  static let simulated: Set<String> = [
    "Simulation", "TimeTravel", "DiskModel", "BlockDevice", "VirtioBlock", "VhostUser", "DiskImage",
    "BlockIO",
    "Telemetry",
  ]

  static var files: [PackageFile] { Repository.sources.filter { simulated.contains($0.module) } }

  static let clocks = Rule(
    #"\b(clock_gettime|clock_nanosleep|nanosleep|usleep|sleep|gettimeofday|timerfd_\w+|poll|ppoll|select|"#
      + #"time|times|localtime|gmtime|DispatchTime|Date)\("#
      + #"|\b(ContinuousClock|SuspendingClock|UTCClock|HostClock)\b"#,
    "the simulated path reads no host clock")

  static let entropy = Rule(
    #"\b(SystemRandomNumberGenerator|arc4random\w*|getrandom|getentropy|Hasher|hashValue)\b"#
      + #"|\b(rand|random|drand48|lrand48)\(\)|\.(randomElement|shuffled|shuffle)\(\)"#
      + #"|\.random\((?!.*\busing:)"#,
    "the simulated path has no random number without a seed of ours")

  /// Each says why the simulation cannot see it.
  static let allowances = [
    Allowance(
      path: "Sources/TimeTravel/MessageChannel.swift", text: "poll(",
      reason:
        "a peer that is silent for half a minute of real time is given up: the run ends badly either way"),
    Allowance(
      path: "Sources/VhostUser/Session/Session+Messages.swift", text: "poll(&query, 1, 0)",
      reason: "looks whether there is a message, and does not wait"),
    Allowance(
      path: "Sources/BlockIO/ImageFile.swift", text: "usleep(Limits.lockPauseMicroseconds)",
      reason: "waits for who has a lock for a moment, before anything is simulated"),
    Allowance(
      path: "Sources/DiskImage/Journal/JournalFolder.swift", text: "getentropy(&token, token.count)",
      reason: "names a journal, in real time only: simulated disks have none"),
    Allowance(
      path: "Sources/DiskImage/Journal/JournalRecovery.swift",
      text: "usleep(Limits.journalLockPauseMicroseconds)",
      reason: "waits for a process that is being killed, before anything is simulated"),
    Allowance(
      path: "Sources/BlockIO/Queued/Patience.swift", text: "HostClock.nanoseconds",
      reason: "which thread waits for the kernel, in real time only: simulated disks have no queue"),
    Allowance(
      path: "Sources/BlockIO/FileRegistry.swift", text: "entries = entries.filter",
      reason: "a dictionary stays one"),
  ]

  @Test("no host clock, no unseeded generator") func hostState() throws {
    for file in Self.files {
      try Self.clocks.check(file, lines: file.code, allowing: Self.allowances)
      try Self.entropy.check(file, lines: file.code, allowing: Self.allowances)
    }
  }

  @Test("no iteration over a Dictionary or a Set, whose order differs from run to run") func hashOrder()
    throws
  {
    // The files of one type, `Type.swift` and `Type+Concern.swift`, see the same properties.
    let types = Dictionary(grouping: Self.files) { file in
      file.module + "/" + (file.name.split(separator: ".").first?.split(separator: "+").first ?? "")
    }
    for files in types.values {
      let names = Set(files.flatMap { HashedNames.declared(in: $0.code) })
      for file in files {
        for rule in HashedNames.rules(names) {
          try rule.check(file, lines: file.code, allowing: Self.allowances)
        }
      }
    }
  }

  @Test("every allowance is still needed") func allowancesAreNeeded() {
    for allowance in Self.allowances {
      let file = Self.files.first { $0.path == allowance.path }
      #expect(
        file?.code.contains { $0.contains(allowance.text) } == true, "\(allowance.path): \(allowance.text)")
    }
  }

  @Test("the rules find what they are for") func rulesFind() throws {
    let bad: [Substring] = [
      "let now = ContinuousClock.now", "clock_gettime(CLOCK_MONOTONIC, &t)", "let t = time(nil)",
    ]
    #expect(try Self.clocks.violations(in: bad) == [1, 2, 3])
    #expect(try Self.clocks.violations(in: ["advance(time: now)", "self.time = time", "runtime(4)"]) == [])
    let random: [Substring] = [
      "Int.random(in: 0..<4)", "list.shuffled()", "Int.random(in: 0..<4, using: &generator)",
    ]
    #expect(try Self.entropy.violations(in: random) == [1, 2])
    let hashed: [Substring] = [
      "private var pending: [UInt64: Pending] = [:]", "var seen = Set<Int>()", "let list: [Int] = []",
      "func f(labelled: Int, table: [String : [Int]])",
    ]
    let names = Set(HashedNames.declared(in: hashed))
    #expect(names == ["pending", "seen", "table"])
    let uses: [Substring] = [
      "for (key, value) in pending {", "for key in table.keys.sorted() {", "for one in list {",
      "return seen.map { $0 + 1 }", "let all = other.values", "pending[4] = nil", "let count = seen.count",
    ]
    #expect(try HashedNames.rules(names).flatMap { try $0.violations(in: uses) }.sorted() == [1, 4, 5])
  }
}

/// Names that stand for a Dictionary or a Set, as far as a look at the declaration tells.
enum HashedNames {
  static func declared(in lines: [Substring]) -> [String] {
    let annotated = /\b(\w+)\s*:\s*(?:inout\s+)?(?:\[[\w.<>? ]+\s*:\s*[\w.<>?\[\]: (),]+\]|Set<|Dictionary<)/
    let initialised =
      /\b(?:var|let)\s+(\w+)\s*=\s*(?:\[[\w.<>? ]+\s*:\s*[\w.<>?\[\]: ]+\]\(|Set[<(]|Dictionary[<(])/
    return lines.flatMap { line in
      line.matches(of: annotated.wordBoundaryKind(.simple)).map { String($0.1) }
        + line.matches(of: initialised.wordBoundaryKind(.simple)).map { String($0.1) }
    }
  }

  static func rules(_ names: Set<String>) -> [Rule] {
    let views = Rule(
      #"\.(keys|values)\b(?!\.(sorted|count|contains|isEmpty)\b)"#,
      "keys and values come in another order in every run; sort them")
    guard !names.isEmpty else { return [views] }
    let name = "(?:self\\.)?(?:\(names.sorted().joined(separator: "|")))"
    let loops = Rule(
      #"\bfor\b.*\bin\s+"# + name + #"\s*(\{|where\b|\.(?!sorted|keys|values))"#
        + #"|\b"# + name
        + #"\.(map|compactMap|flatMap|forEach|filter|reduce|first|popFirst|randomElement)\b"#,
      "a Dictionary or Set comes in another order in every run")
    return [views, loops]
  }
}
