// ttblk image
import ArgumentParser
import DiskImage

struct ImageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image",
    abstract: "Make disk images and look at them.",
    subcommands: [
      ImageCreateCommand.self, ImageInfoCommand.self,
      ImageCheckCommand.self, ImageRepairCommand.self, ImageRestampCommand.self,
      ImageRebaseCommand.self,
    ])
}

extension ImageFormat: ExpressibleByArgument {}
