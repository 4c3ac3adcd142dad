// ttblk image
import ArgumentParser
import DiskImage

struct ImageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image",
    abstract: "Make disk images, look at them, and keep them in order.",
    subcommands: [
      ImageCreateCommand.self, ImageInfoCommand.self, ImageMapCommand.self, ImageCheckCommand.self,
      ImageRepairCommand.self, ImageCompareCommand.self, ImageDiffCommand.self, ImageMergeCommand.self,
      ImageCommitCommand.self, ImageConvertCommand.self, ImageRebaseCommand.self, ImageRestampCommand.self,
      ImageSnapshotCommand.self, ImageCompactCommand.self, ImageUpgradeCommand.self,
      ImageResizeCommand.self, ImageMeasureCommand.self, ImageBenchCommand.self,
    ])
}

extension ImageFormat: ExpressibleByArgument {}
