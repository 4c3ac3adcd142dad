// Models by name.

/// A model with a name: its kind, its numbers and where they are from.
package struct Preset: Sendable {
  /// As in `model=hdd-7200`.
  package let name: String
  /// One line: which device this stands for.
  package let summary: String
  /// Where the numbers are from (paper, data sheet, simulator), and what was assumed.
  package let source: String
  /// Its parameters, `kind` first, as a user's TOML file would have them.
  package let parameters: ParameterTable

  package init(name: String, summary: String, source: String, parameters: ParameterTable) {
    self.name = name
    self.summary = summary
    self.source = source
    self.parameters = parameters
  }

  /// All of them, by kind; one line each.
  package static let all: [Preset] = [
    affine,
    cloud,
    hdd,
    ssd,
  ].flatMap { $0 }
}
