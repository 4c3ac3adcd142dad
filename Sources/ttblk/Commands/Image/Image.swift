// ttblk image
import ArgumentParser
import DiskImage

struct ImageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image",
    abstract: "Make disk images and look at them.",
    subcommands: [
      ImageCreateCommand.self, ImageInfoCommand.self, ImageMapCommand.self, ImageCompareCommand.self,
      ImageDiffCommand.self, ImageMergeCommand.self, ImageCommitCommand.self, ImageConvertCommand.self,
    ])
}

extension ImageFormat: ExpressibleByArgument {}
