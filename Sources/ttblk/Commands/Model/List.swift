// ttblk model list
import ArgumentParser
import DiskModel
import Telemetry

struct ModelListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Name the presets, and say what each stands for.")

  @Flag(help: "Print JSON, with the sources of the numbers.")
  var json = false

  func run() throws {
    guard !json else {
      let presets = Preset.all.map { preset in
        JSONValue.object([
          "name": .string(preset.name), "kind": .string(preset.kind), "summary": .string(preset.summary),
          "source": .string(preset.source),
        ])
      }
      return announce(JSONValue.array(presets).indented)
    }
    var table = TextTable(columns: ["name", "kind", "stands for"])
    for preset in Preset.all { table.add([preset.name, preset.kind, preset.summary]) }
    announce(table.text)
  }
}

extension Preset {
  fileprivate var kind: String { if case .string(let kind) = parameters["kind"] { kind } else { "" } }
}
