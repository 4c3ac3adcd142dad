// ttblk image info
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageInfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Say what a disk image is.",
    discussion: """
      Takes no lock and changes nothing; also of an image that is in use. Ends with 3 when the image \
      cannot be opened as it is, after saying why and what to do.
      """)

  @Argument(help: "The disk image.", completion: .file())
  var file: String

  @Option(help: "The format, instead of a guess.")
  var format: ImageFormat?

  @Option(help: ArgumentHelp("A backing file to use in place of the header's.", valueName: "file"))
  var backing: String?

  @Flag(help: "Print JSON.")
  var json = false

  @Option(help: ArgumentHelp("An internal snapshot of a qcow2 image, by id or name.", valueName: "name"))
  var snapshot: String?

  func run() throws {
    let options = ImageOptions(format: format, readOnly: true, backing: backing, snapshot: snapshot)
    let info = try ImageInfo(path: file, options: options, registry: makeRegistry())
    announce(json ? info.json.indented : info.table)
    if info.problem != nil { throw ExitCode(ExitCodes.refused.rawValue) }
  }
}

extension ImageInfo {
  fileprivate var json: JSONValue {
    var members: [JSONValue.Member] = [
      .init("path", .string(path)),
      .init("format", .string(format.rawValue)),
      .init("virtualSize", .unsigned(virtualSize)),
      .init("fileSize", .unsigned(fileSize)),
      .init("fileAllocated", .unsigned(fileAllocated)),
      .init(
        "chain",
        .array(chain.map { .object(["path": .string($0.path), "format": .string($0.format.rawValue)]) })),
    ]
    if let cow { members.append(.init("cow", cow.json)) }
    if let qcow2 { members.append(.init("qcow2", qcow2.json)) }
    return .object(members)
  }

  fileprivate var table: String {
    let version = cow.map { ", version \($0.version)" } ?? qcow2.map { ", version \($0.version)" } ?? ""
    var rows: [(String, String)] = [
      ("path", path),
      ("format", format.rawValue + version),
      ("disk", ByteText.long(virtualSize)),
      ("file", "\(ByteText.long(fileSize)), occupies \(ByteText.long(fileAllocated))"),
    ]
    if let cow { rows += cow.rows }
    if let qcow2 { rows += qcow2.rows }
    if chain.count > 1 {
      rows.append(("chain", chain.map { "\($0.path) (\($0.format.rawValue))" }.joined(separator: " on ")))
    }
    let width = rows.map(\.0.count).max() ?? 0
    return rows.map { $0 + String(repeating: " ", count: width - $0.count + 2) + $1 }.joined(separator: "\n")
  }
}

extension ImageInfo.COW {
  fileprivate var json: JSONValue {
    .object([
      "version": .string(version),
      "writable": .bool(isWritable),
      "sectorSize": .unsigned(UInt64(sectorSize)),
      "alignment": .unsigned(UInt64(alignment)),
      "bitmapOffset": .unsigned(bitmapOffset),
      "bitmapBytes": .unsigned(bitmapBytes),
      "dataOffset": .unsigned(dataOffset),
      "allocated": .unsigned(allocated),
      "mixedPages": .unsigned(mixedPages),
      "backing": .object([
        "path": .string(backingPath),
        "size": .unsigned(backingSize),
        "modified": .integer(backingModified),
        "actualSize": actualBackingSize.map { .unsigned($0) } ?? .null,
        "actualModified": actualBackingModified.map { .integer($0) } ?? .null,
      ]),
      "valid": .bool(problem == nil),
      "problem": problem.map { .string($0) } ?? .null,
      "warnings": .array(warnings.map { .string($0) }),
    ])
  }

  fileprivate var rows: [(String, String)] {
    let offsets = "bitmap at \(bitmapOffset) (\(bitmapBytes) bytes), data at \(dataOffset)"
    var rows: [(String, String)] = [
      ("layout", "\(offsets), sectors of \(sectorSize), alignment \(alignment)"),
      ("changed", ByteText.long(allocated)),
      ("mixed pages", String(mixedPages)),
      ("backing", backingPath),
      ("backing size", compare(ByteText.long(backingSize), actualBackingSize.map(ByteText.long))),
      ("backing time", compare("@\(backingModified)", actualBackingModified.map { "@\($0)" })),
      ("valid", problem.map { "no: \($0)" } ?? "yes"),
    ]
    rows += warnings.map { ("warning", $0) }
    return rows
  }
}

private func compare(_ expected: String, _ actual: String?) -> String {
  guard let actual else { return "\(expected), now missing" }
  return expected == actual ? expected : "\(expected), now \(actual)"
}
