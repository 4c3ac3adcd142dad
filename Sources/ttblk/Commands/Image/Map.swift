// ttblk image map
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageMapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "map",
    abstract: "List what an image is made of: data, zeros, holes, and in which file.",
    discussion: """
      The JSON has the members of qemu-img map: 'depth' counts backing files, 'present' says that an image \
      has the range, 'zero' that it reads as zeros, 'data' that it is stored, 'offset' where in its file.
      """)

  @Argument(help: "The image.", completion: .file())
  var image: String

  @Option(help: "The format of the image, instead of a guess.")
  var format: ImageFormat?

  @Option(help: ArgumentHelp("A backing file to use in place of the header's.", valueName: "file"))
  var backing: String?

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var source: SourceOptions

  func run() throws {
    let image = try source.open(image, format: format, backing: backing, registry: makeRegistry())
    var list = RecordList(json: json)
    try ImageMap.forEachRun(of: image) { run in
      var members: [JSONValue.Member] = [
        .init("start", .unsigned(run.range.lowerBound)),
        .init("length", .unsigned(run.range.upperBound - run.range.lowerBound)),
        .init("depth", .unsigned(UInt64(run.depth))),
        .init("present", .bool(run.isPresent)),
        .init("zero", .bool(run.isZero)),
        .init("data", .bool(run.isData)),
      ]
      if !json || run.offset != nil {
        members.append(.init("offset", run.offset.map { .unsigned($0) } ?? .null))
      }
      if !json { members.append(.init("file", run.file.map { .string($0) } ?? .null)) }
      list.add(members)
    }
    list.finish()
  }
}
