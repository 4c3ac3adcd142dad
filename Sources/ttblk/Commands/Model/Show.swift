// ttblk model show
import ArgumentParser
import DiskModel
import Scenario

struct ModelShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Print a model's numbers, as the TOML file that model = \"file:…\" reads.",
    discussion: "Presets say where their numbers are from. What is added (NAME:KEY=VALUE) is in the output.")

  @Argument(help: "A preset, NAME:KEY=VALUE…, or file:FILE.toml.")
  var name: String

  func run() throws {
    let description = try readModel(name, note: warn)
    var text = ""
    if let preset = Preset.all.first(where: { $0.name == name.prefix { $0 != ":" } }) {
      text += "# \(preset.name): \(preset.summary)\n# source: \(preset.source)\n"
    }
    text += description.parameters.toml
    while text.last == "\n" { text.removeLast() }
    announce(text)
  }
}
