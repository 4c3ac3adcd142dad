// ttblk model check
import ArgumentParser
import DiskModel
import Linux
import Scenario

struct ModelCheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Say whether a model file is right, without a run.",
    discussion: """
      What is wrong is one line with file, line, key and value, and ends the command with 2. With \
      --disk-size also whether the model fits a disk of that length.
      """)

  @Argument(help: "A TOML file, or a model's name.", completion: .file(extensions: ["toml"]))
  var file: String

  @Option(help: ArgumentHelp("Length of the disk.", valueName: "bytes"))
  var diskSize: ByteCount?

  func validate() throws {
    if let diskSize { try ModelOptions.validate(diskSize) }
  }

  func run() throws {
    let specification: String
    if fileExists(file) {
      specification = "file:" + file
    } else if file.contains("/") || file.hasSuffix(".toml") {
      throw CommandFailure(.usage, "'\(file)' does not exist")
    } else {
      specification = file
    }
    let description: ModelDescription
    do throws(ConfigurationError) { description = try readModel(specification, note: warn) } catch {
      throw CommandFailure(.negative, error.description)
    }
    if let diskSize {
      do throws(DiskModelError) {
        _ = try description.make(for: ModelContext(diskSize: diskSize.bytes))
      } catch {
        throw CommandFailure(.negative, "\(file): \(error)")
      }
    }
    announce("\(file): ok")
  }
}
