// ttblk image resize
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageResizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resize",
    abstract: "Make an image longer or shorter.",
    discussion: """
      Raw and qcow2 images: a UML COW file is as long as its backing file. COW files on top of the image \
      become worthless. The file system in the image is not touched: shrink it before, or grow it \
      afterwards, in the guest.
      SIZE is a number of bytes (units k, M, G, T of 1024), or +SIZE or -SIZE. Nothing is dropped without \
      --shrink: then it is said how much data that would be.
      """)

  @Argument(help: "The disk image.", completion: .file())
  var file: String

  // A length that begins with a dash looks like an option to the parser.
  @Argument(parsing: .allUnrecognized, help: ArgumentHelp("The length.", valueName: "size"))
  var size: [String]

  @Option(help: "The format, instead of a guess.")
  var format: ImageFormat?

  @Flag(help: "Let the image become shorter, and lose what is at its end.")
  var shrink = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    // Who knows that a dash makes an option puts -- in front.
    let size = size.filter { $0 != "--" }
    guard size.count == 1, let length = Resize.Length(size[0]) else {
      throw CommandFailure(
        .usage,
        "'\(size.joined(separator: " "))' is no length: give one number of bytes, such as 10G, +512M "
          + "or -1G")
    }
    let outcome = try Resize.run(
      path: file, length: length, shrink: shrink, format: format, registry: makeRegistry())
    if json {
      let members: KeyValuePairs<String, JSONValue> = [
        "path": .string(file), "before": .unsigned(outcome.before), "after": .unsigned(outcome.after),
      ]
      announce(JSONValue.object(members).indented)
    } else if outcome.before == outcome.after {
      announce("\(file): has \(ByteText.long(outcome.after)) already")
    } else {
      announce("\(file): \(ByteText.long(outcome.after)), was \(ByteText.long(outcome.before))")
    }
  }
}

extension Resize.Length {
  fileprivate init?(_ text: String) {
    let sign = text.first
    let isRelative = sign == "+" || sign == "-"
    guard let count = ByteCount(argument: isRelative ? String(text.dropFirst()) : text) else { return nil }
    switch sign {
    case "+": self = .longerBy(count.bytes)
    case "-": self = .shorterBy(count.bytes)
    default: self = .exactly(count.bytes)
    }
  }
}
