// ttblk image restamp
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageRestampCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restamp",
    abstract: "Accept a backing file whose time of change is another one now.",
    discussion: """
      A COW file on a backing file that really changed is worthless, and a time says nothing about that: so \
      name a copy of the original to compare with (--original; ends with 2, and changes nothing, if they \
      differ), or take the risk (--unchecked). The length must be the same in any case. \
      Only the time in the header changes.
      """)

  @Argument(help: "The COW file.", completion: .file())
  var file: String

  @Option(
    help: ArgumentHelp("A copy of the backing file as it was.", valueName: "file"), completion: .file())
  var original: String?

  @Flag(help: "Accept the backing file without comparing it with anything.")
  var unchecked = false

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func run() throws {
    guard (original != nil) != unchecked else {
      throw CommandFailure(
        .usage,
        "name a copy of the original to compare with (--original FILE), or say --unchecked: "
          + "if the backing file really changed, the COW file is worthless")
    }
    let outcome = try Restamp.run(
      path: file, evidence: original.map { .original($0) } ?? .word, registry: makeRegistry(),
      progress: try progress.start("restamp"))
    announce(json ? outcome.json.indented : "\(file): \(outcome.text)")
    if case .differs = outcome { throw ExitCode(ExitCodes.negative.rawValue) }
  }
}

extension Restamp.Outcome {
  fileprivate var json: JSONValue {
    switch self {
    case .stamped(let from, let to):
      .object(["result": "stamped", "from": .integer(from), "to": .integer(to)])
    case .current: .object(["result": "current"])
    case .differs(let place): .object(["result": "differs", "firstDifference": .unsigned(place)])
    }
  }

  fileprivate var text: String {
    switch self {
    case .stamped(let from, let to): "accepts the backing file's time @\(to) instead of @\(from)"
    case .current: "has the backing file's time already"
    case .differs(let place): "the backing file differs from the original first at \(place), nothing changed"
    }
  }
}
