// ttblk model
import ArgumentParser
import DiskModel
import Scenario

struct ModelCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "model",
    abstract: "Look at disk models, without a disk or a guest.",
    discussion: """
      A model is named as in a scenario or in --disk: a preset (ttblk model list), a preset with other \
      numbers, hdd-7200:queue_depth=4, a kind with its numbers, affine:50us or distribution:p50=1ms:p99=9ms, \
      or a file, file:mine.toml, which has what 'ttblk model show' prints: a kind and its keys, or preset = \
      "NAME" and what is different. A wrong name, number or file ends these commands with 64, and check, \
      whose answer it is, with 2; ttblk --help has all exit codes.
      """,
    subcommands: [
      ModelListCommand.self, ModelShowCommand.self, ModelCheckCommand.self, ModelRunCommand.self,
      ModelPlotCommand.self, ModelFitCommand.self,
    ])
}

/// Which model, and for which disk.
struct ModelOptions: ParsableArguments {
  @Argument(help: "A preset, NAME:KEY=VALUE…, or file:FILE.toml.")
  var name: String

  @Option(help: ArgumentHelp("Length of the disk.", valueName: "bytes"))
  var diskSize = ByteCount(bytes: 1 << 30)

  @Option(help: ArgumentHelp("What the model draws depends on this.", valueName: "n"))
  var seed: UInt64 = 1

  func validate() throws { try Self.validate(diskSize) }

  static func validate(_ diskSize: ByteCount) throws {
    guard diskSize.bytes >= 1 << 20, diskSize.bytes <= 1 << 50 else {
      throw ValidationError("--disk-size is 1M to 1024T")
    }
  }

  func describe() throws -> ModelDescription { try readModel(name, note: warn) }

  /// A model that takes time: there is nothing to see of the other.
  func make() throws -> any DiskModel { try make(try describe()) }

  func make(_ description: ModelDescription) throws -> any DiskModel {
    guard let model = try makeIfTimed(description) else {
      throw CommandFailure(.usage, "model '\(name)' takes no time: requests complete when they are made")
    }
    return model
  }

  func makeIfTimed(_ description: ModelDescription) throws -> (any DiskModel)? {
    do throws(DiskModelError) {
      return try description.make(for: ModelContext(diskSize: diskSize.bytes, seed: seed))
    } catch {
      throw CommandFailure(.usage, "\(name): \(error)")
    }
  }
}
