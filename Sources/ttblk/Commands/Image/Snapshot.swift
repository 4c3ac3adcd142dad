// ttblk image snapshot
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageSnapshotCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot",
    abstract: "Keep named copies of an image, and go back to them.",
    discussion: """
      A snapshot is a file FILE@NAME beside the image, and an image itself. It shares its blocks with the \
      image where the file system can (Btrfs, XFS), and is a sparse copy elsewhere. A snapshot of a COW file \
      stands on the same backing file: change that, and the snapshot is worthless. The image must not be in \
      use: a copy of a disk that is being written to is like one after a loss of power, or worse.
      """,
    subcommands: [
      ImageSnapshotCreateCommand.self, ImageSnapshotListCommand.self, ImageSnapshotApplyCommand.self,
      ImageSnapshotDeleteCommand.self,
    ])
}

/// An image and the name of one of its snapshots.
struct SnapshotArguments: ParsableArguments {
  @Argument(help: "The disk image.", completion: .file())
  var file: String

  @Argument(help: "The name: no slash, no @.")
  var name: String
}

struct ImageSnapshotCreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Copy the image; refused while somebody writes to it.")

  @OptionGroup var snapshot: SnapshotArguments
  @OptionGroup var progress: ProgressOptions

  func run() throws {
    try Snapshot.create(
      of: snapshot.file, name: snapshot.name, registry: makeRegistry(),
      progress: try progress.start("snapshot create"))
  }
}

struct ImageSnapshotListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the snapshots of an image, with those that cannot be opened.")

  @Argument(help: "The disk image.", completion: .file())
  var file: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let entries = try Snapshot.list(of: file, registry: makeRegistry())
    if json { return announce(JSONValue.array(entries.map(\.json)).indented) }
    if entries.isEmpty { return announce("\(file): no snapshots") }
    var table = TextTable(columns: ["name", "kind", "time (UTC)", "size", "occupies", "valid"])
    for entry in entries {
      let (kind, size, allocated) = entry.words
      table.add([
        entry.name, kind, UTCTime(entry.modified).readable, size, allocated,
        entry.problem.map { "no: \($0)" } ?? "yes",
      ])
    }
    announce(table.text)
  }
}

struct ImageSnapshotApplyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "apply",
    abstract: "Put a copy of a snapshot in the place of the image.",
    discussion: """
      The present contents of the image are lost: make a snapshot of them first. A snapshot that cannot be \
      opened is refused. The snapshot stays.
      """)

  @OptionGroup var snapshot: SnapshotArguments
  @OptionGroup var progress: ProgressOptions

  func run() throws {
    try Snapshot.apply(
      to: snapshot.file, name: snapshot.name, registry: makeRegistry(),
      progress: try progress.start("snapshot apply"))
  }
}

struct ImageSnapshotDeleteCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Remove a snapshot that nobody uses.")

  @OptionGroup var snapshot: SnapshotArguments

  func run() throws {
    try Snapshot.delete(of: snapshot.file, name: snapshot.name, registry: makeRegistry())
  }
}

extension Snapshot.Entry {
  /// Its kind, how long it is, and how much it occupies.
  fileprivate var words: (kind: String, size: String, allocated: String) {
    switch kind {
    case .file(let size, let allocated): ("file", ByteText.short(size), ByteText.short(allocated))
    case .internal(let identifier, let size): ("internal \(identifier)", ByteText.short(size), "-")
    }
  }

  fileprivate var json: JSONValue {
    var members: [JSONValue.Member] = [.init("name", .string(name))]
    switch kind {
    case .file(let size, let allocated):
      members += [
        .init("kind", "file"), .init("fileSize", .unsigned(size)),
        .init("fileAllocated", .unsigned(allocated)),
      ]
    case .internal(let identifier, let size):
      members += [
        .init("kind", "internal"), .init("id", .string(identifier)), .init("virtualSize", .unsigned(size)),
      ]
    }
    members += [
      .init("path", .string(path)), .init("modified", .integer(modified)),
      .init("valid", .bool(problem == nil)), .init("problem", problem.map { .string($0) } ?? .null),
    ]
    return .object(members)
  }
}
