// Where a test keeps its files, and who still uses them.
import Foundation
import Glibc
import Linux
import Testing

/// A folder of one test: removed with it. Sockets and sockets' folders of `ttblk run` are in it, too.
final class Folder {
  let path: String

  init() throws {
    path = try makeTemporaryDirectory(under: "/tmp", prefix: "ttg-")
    try makeDirectory(path + "/run")
  }

  deinit { removeTree(path) }

  static func / (folder: Folder, name: String) -> String { "\(folder.path)/\(name)" }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    try writeFile(self / name, text)
    return self / name
  }

  func read(_ name: String) throws -> String { try String(contentsOfFile: self / name, encoding: .utf8) }

  /// What a node has said so far; nothing before it was started.
  func console(_ name: String) -> String { (try? read(name)) ?? "" }

  /// A sparse file, of a fixed time.
  func makeImage(_ name: String, size: Int) throws -> String {
    let image = self / name
    try #require(FileManager.default.createFile(atPath: image, contents: nil))
    try #require(truncate(image, size) == 0)
    try touch(name, 1_700_000_000)
    return image
  }

  func makeOverlay(_ name: String, on backing: String) throws -> String {
    let made = try ttblk("image", "create", self / name, "--backing", backing)
    try #require(made.code == 0, "\(made.error)")
    return self / name
  }

  func touch(_ name: String, _ time: Int) throws {
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: Double(time))], ofItemAtPath: self / name)
  }

  /// Programs of ours get a folder for sockets inside this one.
  func start(_ arguments: [String]) throws -> Program {
    try Program(ttblkPath, arguments, in: path, environment: ["XDG_RUNTIME_DIR": self / "run"])
  }

  /// Runs `ttblk` to its end.
  func ttblk(_ arguments: String...) throws -> Outcome {
    try ttblk(arguments)
  }

  func ttblk(_ arguments: [String]) throws -> Outcome {
    let program = try start(arguments)
    let code = try program.wait()
    return Outcome(code: code, output: program.output, error: program.error)
  }

  /// Who works in this folder, or was told of it: every process counts but our own.
  var users: [String] {
    var result: [String] = []
    for entry in (try? directoryEntries("/proc")) ?? [] {
      guard let identifier = Int32(entry), identifier != getpid() else { continue }
      let line = (try? readFile("/proc/\(entry)/cmdline", limit: 1 << 20)) ?? []
      let text = String(decoding: line, as: UTF8.self).replacingOccurrences(of: "\0", with: " ")
      let place = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(entry)/cwd")
      if text.contains(path) || place?.hasPrefix(path) == true { result.append("\(identifier): \(text)") }
    }
    return result
  }

  /// The main processes of the UML kernels that run in this folder.
  func kernels(named name: String = "") -> [Int32] {
    users.compactMap { user in
      guard user.contains("umid=\(name)"), user.contains("linux mem="),
        let number = Int32(user.prefix { $0 != ":" }),
        let parent = parentOf(number), !isKernel(parent)
      else { return nil }
      return number
    }
  }

  private func isKernel(_ identifier: Int32) -> Bool {
    let line = (try? readFile("/proc/\(identifier)/cmdline", limit: 1 << 20)) ?? []
    let name = String(decoding: line.prefix { $0 != 0 }, as: UTF8.self)
    return baseName(name) == "linux"
  }

  private func parentOf(_ identifier: Int32) -> Int32? {
    let text = (try? readFile("/proc/\(identifier)/stat", limit: 4096)).map {
      String(decoding: $0, as: UTF8.self)
    }
    let fields = text?.split(separator: ")").last?.split(separator: " ")
    return fields.flatMap { $0.count > 1 ? Int32($0[1]) : nil }
  }

  /// Nobody is left after half a minute; whoever is, is killed, so that it does not outlive the test.
  func expectNobodyLeft(sourceLocation: SourceLocation = #_sourceLocation) {
    let end = ContinuousClock.now + .seconds(30)
    while !users.isEmpty, ContinuousClock.now < end { usleep(20_000) }
    let users = users
    #expect(users.isEmpty, "processes left: \(users)", sourceLocation: sourceLocation)
    for user in users {
      if let number = Int32(user.prefix { $0 != ":" }) { Glibc.kill(number, SIGKILL) }
    }
  }

  /// Nobody is left, and no socket or folder of a run.
  func expectNothingLeft(sourceLocation: SourceLocation = #_sourceLocation) {
    expectNobodyLeft(sourceLocation: sourceLocation)
    let sockets = sockets
    #expect(sockets.isEmpty, "sockets left: \(sockets)", sourceLocation: sourceLocation)
    let folders = (try? directoryEntries(self / "run")) ?? []
    #expect(folders.isEmpty, "folders left: \(folders)", sourceLocation: sourceLocation)
  }

  private var sockets: [String] {
    (FileManager.default.enumerator(atPath: path)?.allObjects as? [String] ?? []).filter {
      let type = try? FileManager.default.attributesOfItem(atPath: self / $0)[.type] as? FileAttributeType
      // A kernel that was started by hand, and killed, leaves one of its own.
      return type == .typeSocket && !$0.hasPrefix("uml/")
    }
  }

  /// A disk image is as good as before.
  func expectValid(_ image: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let info = try ttblk("image", "info", image)
    #expect(info.code == 0, "\(info.output)\(info.error)", sourceLocation: sourceLocation)
  }
}

/// The command is built beside the tests.
let ttblkPath = directoryName(CommandLine.arguments[0]) + "/ttblk"

/// Modification time in nanoseconds.
func modificationTime(_ path: String) throws -> Int {
  var status = stat()
  try #require(stat(path, &status) == 0)
  return status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec
}
