// ttblk image check
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageCheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Look for damage, and change nothing.",
    discussion: """
      There are no checksums: what a sector contains is not judged, only whether it is there. Of a raw image \
      only the length is checked.
      Ends with 0 when the image can be used, with 2 when there is damage: contents are missing, the bitmap \
      makes no sense, the backing file is not the one that the image was made for. Wasted space and pages \
      that UML's own driver misreads are warnings: they end with 2 only under --strict. An image that \
      somebody writes to is refused with 4, unless --force-share: then what is found may be out of date.
      """)

  @Argument(help: "The disk image.", completion: .file())
  var file: String

  @Option(help: "The format, instead of a guess.")
  var format: ImageFormat?

  @Option(
    help: ArgumentHelp("A backing file to use in place of the header's.", valueName: "file"),
    completion: .file())
  var backing: String?

  @Flag(help: "Warnings end with 2, too.")
  var strict = false

  @Flag(help: "Take no lock, and look even while somebody writes.")
  var forceShare = false

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func run() throws {
    let options = ImageOptions(format: format, readOnly: true, lock: !forceShare, backing: backing)
    let report = try Check.run(
      path: file, options: options, registry: makeRegistry(), progress: try progress.start("check"))
    announce(json ? report.json.indented : report.text)
    if report.isDamaged || (strict && report.isImperfect) { throw ExitCode(ExitCodes.negative.rawValue) }
  }
}

extension Check.Report {
  fileprivate var json: JSONValue {
    .object([
      "path": .string(path), "format": .string(format.rawValue), "damaged": .bool(isDamaged),
      "clean": .bool(!isImperfect), "findings": .array(findings.map(\.json)),
    ])
  }

  fileprivate var text: String {
    let verdict = isDamaged ? "damaged" : isImperfect ? "usable, with warnings" : "clean"
    return (findings.map(\.lines) + ["\(path): \(verdict)"]).joined(separator: "\n")
  }
}

extension Finding {
  /// For scripts.
  var json: JSONValue {
    .object([
      "kind": .string(kind.rawValue), "severity": .string(severity.rawValue), "text": .string(text),
      "bytes": .unsigned(count),
      "places": .array(
        places.map {
          .object(["offset": .unsigned($0.lowerBound), "bytes": .unsigned($0.upperBound - $0.lowerBound)])
        }),
    ])
  }

  /// For people: what, and where first.
  var lines: String {
    var lines = ["\(severity.rawValue): \(text)"]
    lines += places.map { "  at \($0.lowerBound), \($0.upperBound - $0.lowerBound) bytes" }
    let listed = places.reduce(UInt64(0)) { $0 + ($1.upperBound - $1.lowerBound) }
    if listed < count { lines.append("  and \(count - listed) bytes elsewhere") }
    return lines.joined(separator: "\n")
  }
}
