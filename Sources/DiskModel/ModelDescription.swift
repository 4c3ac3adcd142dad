// From a name and numbers to a model.

/// A checked choice of a model, before it is made for a disk: what configurations keep.
package struct ModelDescription: Sendable {
  /// As it was written: `hdd-7200:depth=1`.
  package let specification: String
  /// Its preset with what was added, `kind` included.
  package let parameters: ParameterTable

  /// Reads `NAME`, `NAME:KEY=VALUE…` or, for affine models, `affine:LATENCY[:BANDWIDTH]`.
  /// - Parameter file: reads a user's TOML file, for `file:PATH`.
  package init(
    parsing specification: String,
    file: (String) throws(DiskModelError) -> ParameterTable = { path throws(DiskModelError) in
      throw DiskModelError("model files cannot be read here: '\(path)'")
    }
  ) throws(DiskModelError) {
    var parts = specification.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    let name = parts.removeFirst()
    var table: ParameterTable
    switch name {
    case "zero":
      table = ["kind": "zero"]
    case "affine":
      table = ["kind": "affine"]
      // The short form that came first.
      if let first = parts.first, !first.contains("=") { table["latency"] = .string(parts.removeFirst()) }
      if let first = parts.first, !first.contains("=") { table["bandwidth"] = .string(parts.removeFirst()) }
    case "file":
      guard !parts.isEmpty else { throw DiskModelError("model 'file' needs a path: file:PATH") }
      table = try file(parts.removeFirst())
    default:
      guard let preset = Preset.all.first(where: { $0.name == name }) else {
        throw Self.unknown(name)
      }
      table = preset.parameters
    }
    for part in parts {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard pair.count == 2 else {
        throw DiskModelError("model '\(specification)': '\(part)' is not KEY=VALUE")
      }
      table[pair[0]] = .string(pair[1])
    }
    try self.init(specification: specification, parameters: table)
  }

  /// Checks the parameters without a disk.
  package init(specification: String, parameters: ParameterTable) throws(DiskModelError) {
    self.specification = specification
    self.parameters = parameters
    _ = try make(for: ModelContext(diskSize: 1 << 30))
  }

  /// Whether requests take simulated time.
  package var takesTime: Bool { parameters["kind"] != "zero" }

  /// The model for one disk; nil for `zero`: requests then complete when they are made.
  package func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)? {
    let reader = ParameterReader(parameters)
    let kind = try reader.required("kind", reader.string("kind"))
    _ = try reader.integer("queue_depth", in: 1...65_536)
    switch kind {
    case "zero":
      try reader.finish()
      return nil
    case "affine": return try AffineModel(reader)
    case SSDParameters.kind: return try SSDModel(SSDParameters(reader), for: context)
    default:
      throw reader.error(
        "'kind' is \"\(kind)\", not one of \(Self.kinds.joined(separator: ", "))", key: "kind")
    }
  }

  private static let kinds = ["zero", "affine", SSDParameters.kind]

  private static func unknown(_ name: String) -> DiskModelError {
    let names = ["zero", "affine"] + Preset.all.map(\.name)
    let near = nearNames(to: name, among: names)
    return DiskModelError(
      near.isEmpty
        ? "unknown model '\(name)'; known are \(names.joined(separator: ", ")) and file:PATH"
        : "unknown model '\(name)'; did you mean \(near.joined(separator: " or "))?")
  }
}
