// A folder with a backing file and what stands on it, made without any code of ours.
import Foundation

/// A folder for one test; it goes with its owner.
final class ImageFolder {
  let url = FileManager.default.temporaryDirectory.appendingPathComponent("ttblk-test-\(UUID())")
  /// The contents of `base`: 64 pages, each of another value.
  let base = Data((0..<64).flatMap { [UInt8](repeating: UInt8($0) + 1, count: 4096) })
  static let time = 1_700_000_000.0
  /// Where a COW file that `ttblk image create` made has its bitmap.
  static let bitmapOffset = 131072
  /// Where its data begins, if its disk is as long as `base`.
  static let dataOffset = 262144

  init() throws {
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    try put("base", base)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func path(_ name: String) -> String { url.appendingPathComponent(name).path }
  func bytes(_ name: String) throws -> Data { try Data(contentsOf: url.appendingPathComponent(name)) }
  func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: url.path).sorted() }

  func put(_ name: String, _ data: Data, time: Double = ImageFolder.time) throws {
    try data.write(to: url.appendingPathComponent(name))
    try set(name, time: time)
  }

  func set(_ name: String, time: Double) throws {
    let date = Date(timeIntervalSince1970: time)
    try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: path(name))
  }

  /// An empty or sparse file of a length.
  func putSparse(_ name: String, length: UInt64, time: Double = ImageFolder.time) throws {
    try Data().write(to: url.appendingPathComponent(name))
    truncate(path(name), off_t(length))
    try set(name, time: time)
  }

  /// Changes some bytes of a file in place.
  func poke(_ name: String, at offset: Int, _ bytes: [UInt8]) throws {
    let handle = try FileHandle(forUpdating: url.appendingPathComponent(name))
    defer { try? handle.close() }
    try handle.seek(toOffset: UInt64(offset))
    try handle.write(contentsOf: Data(bytes))
  }

  /// Makes a COW file by `ttblk image create`, with page 5 all of 0xaa, page 6 of zeros, and page 7 as it
  /// was.
  func makeCOW(_ name: String = "a.cow") throws {
    let outcome = try ttblk("create", name, "--backing", "base")
    guard outcome.code == 0 else { throw CocoaError(.fileWriteUnknown) }
    try write(name, page: 5, [UInt8](repeating: 0xaa, count: 4096))
    try write(name, page: 6, [UInt8](repeating: 0, count: 4096))
    try write(name, page: 7, [UInt8](repeating: 8, count: 4096))
  }

  /// What the disk of `makeCOW` shows.
  var disk: Data {
    var disk = base
    disk.replaceSubrange(5 * 4096..<6 * 4096, with: [UInt8](repeating: 0xaa, count: 4096))
    disk.replaceSubrange(6 * 4096..<7 * 4096, with: [UInt8](repeating: 0, count: 4096))
    return disk
  }

  /// Writes a page of a COW file of ours as UML does.
  func write(_ name: String, page: Int, _ bytes: [UInt8]) throws {
    try poke(name, at: ImageFolder.dataOffset + page * 4096, bytes)
    try poke(name, at: ImageFolder.bitmapOffset + page, [0xff])
  }

  /// Writes a COW file of version 1 or 2 with the disk of `makeCOW`.
  func putOld(_ name: String, version: UInt32) throws {
    var header = Data()
    func number<Value: FixedWidthInteger>(_ value: Value) {
      withUnsafeBytes(of: version == 1 ? value.littleEndian : value.bigEndian) {
        header.append(contentsOf: $0)
      }
    }
    number(UInt32(0x4f4f_4f4d))
    number(version)
    let text = Data(path("base").utf8)
    header += text + Data(count: (version == 1 ? 256 : 4096) - text.count)
    number(UInt32(ImageFolder.time))
    number(UInt64(base.count))
    number(UInt32(512))
    var bitmap = Data(count: 64)
    for page in 5...7 { bitmap[page] = 0xff }
    var file = header + bitmap
    file.append(Data(count: (512 - file.count % 512) % 512))
    try put(name, file + disk)
  }

  /// Runs `ttblk image …` in the folder.
  func ttblk(_ arguments: String...) throws -> Outcome { try runCommand(["image"] + arguments, in: url) }

  /// Whether `ttblk image` has a command, of those that other people make.
  func has(_ command: String) throws -> Bool {
    // An unknown word gets the help of what is before it.
    try ttblk(command, "--help").output.contains("USAGE: ttblk image \(command)")
  }

  /// Runs one of the original tools; nil if there is none.
  func run(_ tool: String, _ arguments: String...) throws -> Int32? {
    guard FileManager.default.isExecutableFile(atPath: "/usr/bin/\(tool)") else { return nil }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/\(tool)")
    process.arguments = arguments
    process.currentDirectoryURL = url
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return process.terminationStatus
  }

  /// Whether uml_moo sees the disk of `makeCOW`, or another one; true where there is no uml_moo.
  func mooSees(_ name: String, _ expected: Data? = nil) throws -> Bool {
    guard let code = try run("uml_moo", name, "moo.out") else { return true }
    defer { unlink(path("moo.out")) }
    guard code == 0 else { return false }
    return try bytes("moo.out") == expected ?? disk
  }

  /// Runs something while this process has a file locked, as a UML that writes to it.
  func whileLocked(_ name: String, _ body: () throws -> Void) throws {
    let descriptor = open(path(name), O_RDWR)
    defer { close(descriptor) }
    guard lockf(descriptor, F_TLOCK, 0) == 0 else { throw CocoaError(.fileLocking) }
    try body()
  }
}

extension Outcome {
  /// Whether it failed with a code and exactly one line, in which some words occur.
  func failed(_ code: Int32, _ words: String...) -> Bool {
    self.code == code && error.hasPrefix("ttblk: ") && error.filter { $0 == "\n" }.count == 1
      && words.allSatisfy { error.contains($0) }
  }

  /// Whether it was done, in silence on standard error.
  var isDone: Bool { code == 0 && error.isEmpty }
}
