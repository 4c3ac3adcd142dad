// Images for commands that are stopped, made and read without any code of ours.
import Foundation
import Linux
import Simulation
import Testing

/// What stops a test from going on; not what it tests.
struct RigError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// How many hundreds of attempts there shall be, and 0 for a few: `TTBLK_LONG`, as `Tests/run.sh --long` sets
/// it.
let long = ProcessInfo.processInfo.environment["TTBLK_LONG"].flatMap { Int($0) } ?? 0

/// A folder in which one command is stopped again and again.
final class FaultFolder {
  static let size = 2 << 20
  private static let time = 1_700_000_000
  private static let dataOffset = 12288
  private static let pages = size / 4096

  let job: FaultJob
  /// Where the command works.
  let path: String
  private let root: String
  private var files: [String: Data] = [:]
  private let isMount: Bool
  private var isMounted = false

  /// - Parameter isMount: whether the command works on a file system of its own, of 64 MiB.
  init(_ job: FaultJob, isMount: Bool = false) throws {
    self.job = job
    self.isMount = isMount
    root = try makeTemporaryDirectory(under: "/tmp", prefix: "ttblk-fault-")
    path = root + "/work"
    try makeDirectory(path)
    if isMount {
      guard try tool("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path) == 0 else {
        throw RigError("cannot mount a tmpfs")
      }
      isMounted = true
    }
    for (kind, bytes) in Self.contents { try bytes.write(to: url(root + "/" + kind.rawValue)) }
    for file in job.files {
      try make(file)
      files[file] = try Data(contentsOf: url(path + "/" + file))
    }
  }

  deinit {
    if isMounted { _ = try? tool("umount", "-l", path) }
    removeTree(root)
  }

  private func url(_ path: String) -> URL { URL(fileURLWithPath: path) }

  // MARK: Contents

  /// What the disks show.
  static let contents: [FaultJob.Contents: Data] = {
    var random = RandomStream(seed: 1, name: "faults")
    func bytes(_ count: Int) -> Data {
      (0..<count / 8).map { _ in random.next() }.withUnsafeBytes { Data($0) }
    }
    var base = bytes(size)
    for page in stride(from: 0, to: pages, by: 16) {
      base.replaceSubrange(page * 4096..<(page + 3) * 4096, with: Data(count: 3 * 4096))
    }
    /// Another disk: runs of pages are new, or zeros.
    func changed(_ base: Data) -> Data {
      var disk = base
      var page = 0
      while page < pages {
        let run = min(Int(random.next() % 12) + 1, pages - page)
        let kind = random.next() % 3
        if kind < 2 {
          let new = kind == 0 ? bytes(run * 4096) : Data(count: run * 4096)
          disk.replaceSubrange(page * 4096..<(page + run) * 4096, with: new)
        }
        page += run + Int(random.next() % 24)
      }
      return disk
    }
    let disk = changed(base)
    return [.base: base, .disk: disk, .other: changed(base), .grown: disk + Data(count: 1 << 20)]
  }()

  private func contents(_ kind: FaultJob.Contents) -> Data { Self.contents[kind] ?? Data() }

  // MARK: Files

  private func make(_ name: String) throws {
    let (base, disk, other) = ("\(root)/base", "\(root)/disk", "\(root)/other")
    switch name {
    case "base", "disk", "other": try put(name, contents(.init(rawValue: name) ?? .base))
    case "qbase", "out": try shell("qemu-img convert -f raw -O qcow2 \(base) \(name)")
    case "q": try putQCOW2(name, on: "base", "cluster_size=4096")
    case "r": try putQCOW2(name, on: "qbase", "cluster_size=4096")
    case "old": try putQCOW2(name, on: "base", "cluster_size=4096,compat=0.10")
    // Its tables have to move to become longer.
    case "small": try putQCOW2(name, on: "base", "cluster_size=512")
    case "damaged":
      try shell("qemu-img convert -f raw -O qcow2 -o cluster_size=4096 \(disk) damaged")
      try damage(name)
    case "a.cow": try putCOW(name, disk, on: "base")
    case "a.cow@o": try putCOW(name, other, on: "base")
    case "b.cow": try putCOW(name, disk, on: "qbase")
    case "mixed.cow":
      try putCOW(name, disk, on: "base")
      // Data that no bit claims, and bits of single sectors whose bytes are the backing file's.
      for page in 0..<Self.pages {
        let slot = Self.dataOffset + page * 4096
        guard try bytes(name, at: 8192 + page, 1) == [0] else { continue }
        try poke(name, at: slot, [UInt8](repeating: 0x55, count: 4096))
        if page % 3 == 0 {
          let sector = contents(.base)[page * 4096 + 1024..<page * 4096 + 1536]
          try poke(name, at: slot + 1024, Array(sector))
          try poke(name, at: 8192 + page, [0b100])
        }
      }
    case "old.cow": try putOldCOW(name)
    default: throw CocoaError(.fileNoSuchFile)
    }
    try touch(name)
  }

  private func put(_ name: String, _ bytes: Data) throws {
    try bytes.write(to: url("\(path)/\(name)"))
  }

  private func touch(_ name: String) throws {
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: Double(Self.time))], ofItemAtPath: "\(path)/\(name)")
  }

  private func poke(_ name: String, at offset: Int, _ bytes: [UInt8]) throws {
    let handle = try FileHandle(forUpdating: url("\(path)/\(name)"))
    defer { try? handle.close() }
    try handle.seek(toOffset: UInt64(offset))
    try handle.write(contentsOf: Data(bytes))
  }

  private func bytes(_ name: String, at offset: Int, _ count: Int) throws -> [UInt8] {
    Array(try Data(contentsOf: url("\(path)/\(name)"))[offset..<offset + count])
  }

  private static func big<I: FixedWidthInteger>(_ value: I) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  private func pathField(_ name: String) -> [UInt8] {
    let text = Array("\(path)/\(name)".utf8)
    return text + [UInt8](repeating: 0, count: 4096 - text.count)
  }

  /// A COW file of version 3, as UML writes it.
  private func putCOW(_ name: String, _ disk: String, on backing: String) throws {
    let disk = try Data(contentsOf: url(disk))
    let base = contents(.base)
    var file = Self.big(UInt32(0x4f4f_4f4d)) + Self.big(UInt32(3)) + Self.big(UInt32(Self.time))
    file += Self.big(UInt64(Self.size)) + Self.big(UInt32(512)) + Self.big(UInt32(4096)) + Self.big(UInt32(0))
    file += pathField(backing)
    file += [UInt8](repeating: 0, count: 8192 - file.count)
    var data = Data(count: Self.size)
    for page in 0..<Self.pages {
      let range = page * 4096..<(page + 1) * 4096
      // Also some pages that are the same beneath.
      let isOwn = disk[range] != base[range] || page % 7 == 0
      file.append(isOwn ? 0xff : 0)
      if isOwn { data.replaceSubrange(range, with: disk[range]) }
    }
    file += [UInt8](repeating: 0, count: Self.dataOffset - file.count)
    try put(name, Data(file) + data)
  }

  /// A qcow2 file that shows `disk` and has only what differs from its backing file.
  private func putQCOW2(_ name: String, on backing: String, _ options: String) throws {
    let format = backing == "base" ? "raw" : "qcow2"
    try shell(
      """
      qemu-img create -q -f qcow2 -o \(options) -b \(root)/disk -F raw \(name)
      qemu-img rebase -f qcow2 -b \(backing) -F \(format) \(name)
      """)
  }

  /// A COW file of version 2.
  private func putOldCOW(_ name: String) throws {
    let (base, disk) = (contents(.base), contents(.disk))
    var file = Self.big(UInt32(0x4f4f_4f4d)) + Self.big(UInt32(2)) + pathField("base")
    file += Self.big(UInt32(Self.time)) + Self.big(UInt64(Self.size)) + Self.big(UInt32(512))
    for page in 0..<Self.pages {
      let range = page * 4096..<(page + 1) * 4096
      file.append(disk[range] == base[range] ? 0 : 0xff)
    }
    file += [UInt8](repeating: 0, count: (512 - file.count % 512) % 512)
    try put(name, Data(file) + disk)
  }

  /// Makes counts of a qcow2 file wrong: too low, too high, and one of a cluster that nothing refers to.
  private func damage(_ name: String) throws {
    let table = try bytes(name, at: 48, 8).reduce(0) { $0 << 8 | Int($1) }
    let block = try bytes(name, at: table, 8).reduce(0) { $0 << 8 | Int($1) }
    let clusters = try Data(contentsOf: url("\(path)/\(name)")).count / 4096
    try poke(name, at: block + 2 * (clusters - 3), [0, 0])
    try poke(name, at: block + 2 * (clusters - 9), [0, 2])
    try poke(name, at: block + 2 * clusters, [0, 1])
    try poke(name, at: clusters * 4096, [UInt8](repeating: 0x55, count: 4096))
  }

  // MARK: Programs

  @discardableResult
  func tool(_ name: String, _ arguments: String...) throws -> Int32? {
    try finish(try start("/usr/bin/\(name)", arguments))
  }

  private func shell(_ script: String) throws {
    try #require(try finish(try start("/bin/sh", ["-ec", script])) == 0, "\(script)")
  }

  private func start(_ program: String, _ arguments: [String], error: String? = nil) throws -> ChildProcess {
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    let log = error.map { open($0, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600) }
    defer {
      close(null)
      if let log { close(log) }
    }
    return try ChildProcess(
      path: program, arguments: arguments, directory: path, input: null, output: null, error: log ?? null)
  }

  /// The code with which it ends; nil when it was killed.
  private func finish(_ child: ChildProcess) throws -> Int32? {
    while child.poll() == nil {
      var entry = pollfd(fd: child.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
      poll(&entry, 1, 1000)
    }
    if case .exited(let code) = child.status { return code }
    return nil
  }

  private static let ttblk = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    .appendingPathComponent("ttblk").path

  private var errors: String { root + "/errors" }

  private func errorText() throws -> String { try String(contentsOfFile: errors, encoding: .utf8) }

  /// Runs `ttblk image …` to its end.
  func run(_ arguments: [String]) throws -> (code: Int32?, error: String) {
    let code = try finish(try start(Self.ttblk, ["image"] + arguments, error: errors))
    return (code, try errorText())
  }

  /// Runs the job's command, and kills it after a while.
  /// - Returns: whether it was killed before it ended.
  func runAndKill(after microseconds: UInt32) throws -> Bool {
    let child = try start(Self.ttblk, ["image"] + job.arguments, error: errors)
    usleep(microseconds)
    child.kill()
    if case .exited = child.status { return false }
    return true
  }

  /// System calls that change a file system.
  private static let calls =
    "write,pwrite64,pwritev,pwritev2,fallocate,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,"
    + "linkat,unlink,unlinkat,utimensat,copy_file_range,chmod,fchmod,chown"

  /// The changes that the job's command makes: each a system call, and its number among those of its name
  /// that its thread makes; in the next run that may be another thread, or none.
  func changes() throws -> [(call: String, number: Int)] {
    let trace = root + "/trace"
    try #require(
      try finish(
        try start(
          "/usr/bin/strace",
          ["-f", "-qq", "-o", trace, "-e", "trace=\(Self.calls)", Self.ttblk, "image"] + job.arguments)) == 0)
    var counts: [String: Int] = [:]
    return try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n").compactMap { line in
      // "PID call(…", "PID <... call resumed>…", with the number padded.
      let words = line.split(separator: " ")
      guard words.count > 1, let call = words[1].split(separator: "(").first, call.first?.isLetter == true
      else { return nil }
      let number = counts["\(words[0]) \(call)", default: 0] + 1
      counts["\(words[0]) \(call)"] = number
      return call == "write" ? nil : (String(call), number)
    }
  }

  /// Runs the job's command, and kills it, or lets a call fail, at one of its changes.
  func run(_ fault: String, at change: (call: String, number: Int)) throws -> (code: Int32?, error: String) {
    let code = try finish(
      try start(
        "/usr/bin/strace",
        [
          "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(change.call)", "-e",
          "inject=\(change.call):\(fault):when=\(change.number)", Self.ttblk, "image",
        ] + job.arguments, error: errors))
    return (code, try errorText())
  }

  // MARK: What must hold

  /// Everything as it was before the command.
  func restore() throws {
    makeRoom()
    for name in try names() { unlink("\(path)/\(name)") }
    for (name, data) in files {
      if isMount { try putSparse(name, data) } else { try put(name, data) }
      try touch(name)
    }
  }

  /// Writes a file without its pages of zeros, which need space as soon as somebody writes there.
  private func putSparse(_ name: String, _ data: Data) throws {
    try put(name, Data())
    let handle = try FileHandle(forUpdating: url("\(path)/\(name)"))
    defer { try? handle.close() }
    try handle.truncate(atOffset: UInt64(data.count))
    let zeros = Data(count: 4096)
    for start in stride(from: 0, to: data.count, by: 4096) {
      let page = data[start..<min(start + 4096, data.count)]
      guard page != zeros.prefix(page.count) else { continue }
      try handle.seek(toOffset: UInt64(start))
      try handle.write(contentsOf: page)
    }
  }

  /// The space that is left on the file system.
  func space() -> Int {
    var status = statvfs()
    return statvfs(path, &status) == 0 ? Int(status.f_bavail) * Int(status.f_bsize) : 0
  }

  /// Leaves so much space on the file system.
  func fill(leaving count: Int) throws {
    let filler = open("\(path)/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    defer { close(filler) }
    try #require(posix_fallocate(filler, 0, off_t(max(4096, space() - count))) == 0)
  }

  func makeRoom() {
    // Children that other tests start have it open until they have become another program.
    truncate("\(path)/filler", 0)
    unlink("\(path)/filler")
  }

  func names() throws -> [String] { try directoryEntries(path).filter { $0 != "filler" }.sorted() }

  private func isThere(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }

  /// Whether the output is there; then it must be complete.
  var hasOutput: Bool { job.output.map(isThere) ?? false }

  /// What must hold at any time: every file that the command does not change is as it was, every image shows
  /// what it ought to, to us and to others.
  func expectSound(_ comment: String, isDone: Bool) throws {
    for (name, data) in files where !job.changes.contains(name) {
      let isSame = try Data(contentsOf: url("\(path)/\(name)")) == data
      #expect(isSame, "\(comment): \(name) was changed")
    }
    for name in Set(job.before.keys).union(job.after.keys).sorted() {
      guard isThere(name) else {
        #expect(!isDone && job.before[name] == nil, "\(comment): \(name) is missing")
        continue
      }
      try expectShows(name, comment, isDone: isDone)
    }
  }

  /// No other names than there ought to be when the command is done, or had an error.
  func expectNames(_ comment: String, isDone: Bool) throws {
    var expected = job.files
    if isDone, let output = job.output { expected.append(output) }
    let others = try names().filter { name in
      !expected.contains(name)
        && !(job.leaves.map { name.hasPrefix($0) && !name.contains(".new-") } ?? false)
    }
    #expect(others.isEmpty, "\(comment): left behind")
  }

  private func expectShows(_ name: String, _ comment: String, isDone: Bool) throws {
    let after = job.after[name].map { ($0, contents($0)) }
    let before = job.before[name].map { ($0, contents($0)) }
    let shown = try shows(name)
    let candidates = [after, isDone ? nil : before].compactMap { $0 }
    let match = candidates.first { $0.1 == shown }
    if let match {
      // Ours sees the same, or says that a commit has to go on.
      let (code, error) = try run([
        "compare", "--strict", name, "\(root)/\(match.0.rawValue)", "--second-format", "raw",
      ])
      let isUnfinished = code == 3 && error.contains("ttblk image commit")
      #expect(code == 0 || (isUnfinished && !isDone), "\(comment): \(name) does not open: \(error)")
    } else if job.mixtures.contains(name), !isDone, let after, let before {
      let isMixture =
        shown.count == after.1.count
        && shown.indices.allSatisfy { shown[$0] == after.1[$0] || shown[$0] == before.1[$0] }
      #expect(isMixture, "\(comment): \(name) has bytes that are neither of before nor of after")
    } else {
      let wanted = candidates.first?.1 ?? Data()
      let place = zip(shown, wanted).enumerated().first { $1.0 != $1.1 }?.offset
      Issue.record("\(comment): \(name) shows wrong bytes (\(shown.count)), first at \(place ?? -1)")
    }
    if isDone || !job.isDamaged {
      // Leaks are warnings; of what a commit left there is a word.
      let (code, _) = try run(["check", name])
      let mayBeUnfinished = job.arguments[0] == "commit" && !isDone
      #expect(code == 0 || (code == 2 && mayBeUnfinished), "\(comment): check \(name)")
    }
    try expectClean(name, comment, isDone: isDone)
  }

  /// What the tools for its format say.
  private func expectClean(_ name: String, _ comment: String, isDone: Bool) throws {
    switch try bytes(name, at: 0, 4) {
    case [0x51, 0x46, 0x49, 0xfb]:
      guard isDone || !job.isDamaged else { return }
      let code = try tool("qemu-img", "check", "-q", "-f", "qcow2", name)
      #expect(code == 0 || (code == 3 && !(isDone && job.isDamaged)), "\(comment): qemu-img check \(name)")
    case Array("OOOM".utf8):
      guard isDone, name != "old.cow.v2", try backing(of: name).hasSuffix("/qbase") == false else { return }
      #expect(try tool("uml_moo", name, root + "/moo") == 0, "\(comment): uml_moo")
      let isSame = try Data(contentsOf: url(root + "/moo")) == contents(job.after[name] ?? .disk)
      #expect(isSame, "\(comment): uml_moo \(name)")
    default: break
    }
  }

  private func backing(of cow: String) throws -> String {
    let version = try bytes(cow, at: 4, 4).last
    return String(decoding: try bytes(cow, at: version == 3 ? 32 : 8, 4096).prefix { $0 != 0 }, as: UTF8.self)
  }

  /// The bytes of a disk, by other programs or by the description of its format.
  private func shows(_ name: String) throws -> Data {
    let file = try Data(contentsOf: url(name.hasPrefix("/") ? name : "\(path)/\(name)"))
    switch Array(file.prefix(4)) {
    case [0x51, 0x46, 0x49, 0xfb]:
      let code = try tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", name, root + "/raw")
      #expect(code == 0, "qemu-img convert \(name)")
      return code == 0 ? try Data(contentsOf: url(root + "/raw")) : Data()
    case Array("OOOM".utf8):
      var disk = try shows(backing(of: name))
      let isOld = file[7] == 2
      let alignment = isOld ? 512 : file[24..<28].reduce(0) { $0 << 8 | Int($1) }
      func aligned(_ offset: Int) -> Int { (offset + alignment - 1) / alignment * alignment }
      let bitmap = isOld ? 8 + 4096 + 16 : aligned(4128)
      let data = aligned(bitmap + Self.pages)
      for sector in 0..<Self.size / 512 where file[bitmap + sector / 8] >> (sector % 8) & 1 == 1 {
        let start = data + sector * 512
        disk.replaceSubrange(sector * 512..<sector * 512 + 512, with: file[start..<start + 512])
      }
      return disk
    default: return file
    }
  }

  /// Runs the command again, to its end; nothing may be wrong then.
  func expectCompletes(_ comment: String) throws {
    let wasThere = hasOutput
    let (code, error) = try run(job.arguments)
    #expect(code == (wasThere ? 5 : 0), "\(comment), again: \(error)")
    try expectSound("\(comment), again", isDone: true)
    try expectNames("\(comment), again", isDone: true)
  }
}
