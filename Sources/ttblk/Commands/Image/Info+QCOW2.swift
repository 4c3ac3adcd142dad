// What ttblk image info says of a qcow2 file.
import BlockIO
import DiskImage
import Telemetry

extension ImageInfo.QCOW2Details {
  private var compressionName: String { compression == .zstd ? "zstd" : "deflate" }

  var json: JSONValue {
    .object([
      "version": .unsigned(UInt64(version)),
      "clusterSize": .unsigned(clusterSize),
      "refcountBits": .unsigned(UInt64(refcountBits)),
      "compression": .string(compressionName),
      "extendedL2": .bool(isExtendedL2),
      "dirty": .bool(isDirty),
      "corrupt": .bool(isCorrupt),
      "backing": backingPath.map { .string($0) } ?? .null,
      "backingFormat": backingFormat.map { .string($0) } ?? .null,
      "dataFile": dataFile.map { .string($0) } ?? .null,
      "snapshots": .array(
        snapshots.map {
          .object([
            "id": .string($0.identifier), "name": .string($0.name), "size": .unsigned($0.size),
            "taken": .unsigned(UInt64($0.taken)),
          ])
        }),
      "valid": .bool(problem == nil),
      "problem": problem.map { .string($0) } ?? .null,
      "warnings": .array(warnings.map { .string($0) }),
    ])
  }

  var rows: [(String, String)] {
    let marks = [(isExtendedL2, "subclusters"), (isDirty, "dirty"), (isCorrupt, "corrupt")]
    let layout =
      ["version \(version)", "clusters of \(clusterSize)", "counts of \(refcountBits) bits", compressionName]
      + marks.filter(\.0).map(\.1)
    var rows = [("layout", layout.joined(separator: ", "))]
    if let backingPath {
      let format = backingFormat.map(printable) ?? "format not recorded"
      rows.append(("backing", "\(printable(backingPath)) (\(format))"))
    }
    if let dataFile { rows.append(("data file", printable(dataFile))) }
    rows += snapshots.map {
      ("snapshot", "\(printable($0.identifier)) '\(printable($0.name))', \($0.size) bytes, @\($0.taken)")
    }
    rows.append(("valid", problem.map { "no: \($0)" } ?? "yes"))
    return rows + warnings.map { ("warning", $0) }
  }
}
