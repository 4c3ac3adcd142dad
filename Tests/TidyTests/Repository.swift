// What there is to be looked at: the package's files, and what git knows of them.
import Foundation

/// A text file of the package.
struct PackageFile: Sendable {
  /// Relative to the package, with slashes.
  let path: String
  let lines: [Substring]
  /// `lines` without comments and without the text of literals.
  let code: [Substring]

  init(_ path: String) throws {
    self.path = path
    let text = try String(contentsOf: Repository.root.appendingPathComponent(path), encoding: .utf8)
    lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    code = SwiftCode.withoutCommentsAndText(text).split(separator: "\n", omittingEmptySubsequences: false)
  }

  var name: String { String(path.split(separator: "/").last ?? "") }

  /// The folder below Sources or Tests.
  var module: String { String(path.split(separator: "/").dropFirst().first ?? "") }
}

enum Repository {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// The Swift files below Sources and Tests, as they are on disk; none if one of them cannot be read.
  static let sources = (try? swiftFiles(below: "Sources")) ?? []
  static let tests = (try? swiftFiles(below: "Tests")) ?? []

  /// The modules: folders of Sources.
  static let modules = folders(below: "Sources")

  static func folders(below folder: String) -> [String] {
    let entries = try? FileManager.default.contentsOfDirectory(
      atPath: root.appendingPathComponent(folder).path)
    return (entries ?? []).sorted().filter { isDirectory("\(folder)/\($0)") }
  }

  private static func isDirectory(_ path: String) -> Bool {
    let values = try? root.appendingPathComponent(path).resourceValues(forKeys: [.isDirectoryKey])
    return values?.isDirectory ?? false
  }

  /// Symbolic links are not followed, so that nothing is looked at twice; nor are build folders.
  private static func swiftFiles(below folder: String) throws -> [PackageFile] {
    let paths = FileManager.default.enumerator(atPath: root.appendingPathComponent(folder).path)
    return try (paths?.compactMap { $0 as? String } ?? []).sorted()
      .filter { $0.hasSuffix(".swift") && !$0.contains(".build") }
      .map { try PackageFile("\(folder)/\($0)") }
  }

  /// What git tracks; nil where this is no clone.
  static let tracked: [TrackedFile]? = {
    guard let output = git("ls-files", "--stage", "-z") else { return nil }
    return output.split(separator: "\0").compactMap(TrackedFile.init)
  }()

  private static func git(_ arguments: String...) -> String? {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    // A clone that belongs to somebody else is still ours to read.
    process.arguments = ["git", "-c", "safe.directory=*", "-C", root.path] + arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return nil }
    let bytes = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return process.terminationStatus == 0 ? String(decoding: bytes, as: UTF8.self) : nil
  }
}

/// One line of `git ls-files --stage`.
struct TrackedFile {
  let path: String
  let isExecutable: Bool
  let isSymbolicLink: Bool

  init?(_ line: Substring) {
    let parts = line.split(separator: "\t", maxSplits: 1)
    guard parts.count == 2, let mode = parts[0].split(separator: " ").first else { return nil }
    path = String(parts[1])
    isExecutable = mode == "100755"
    isSymbolicLink = mode == "120000"
  }

  /// nil when it was removed and git does not know yet, or when it is a link.
  var contents: Data? {
    isSymbolicLink ? nil : try? Data(contentsOf: Repository.root.appendingPathComponent(path))
  }
}
