// From a name and numbers to a model.

/// A checked choice of a model, before it is made for a disk: what configurations keep.
package struct ModelDescription: Sendable {
  /// As it was written: `hdd-7200:depth=1`.
  package let specification: String
  /// Its preset with what was added, `kind` included.
  package let parameters: ParameterTable
  private let checked: any ModelParameters
  /// How many requests the device takes at once; nil for any number.
  private let queueDepth: Int?

  /// Every kind there is; one line each.
  private static let kinds: [any ModelParameters.Type] = [
    ZeroParameters.self,
    AffineParameters.self,
    DistributionParameters.self,
    HDDParameters.self,
    SSDParameters.self,
    CloudVolumeParameters.self,
  ]

  /// Reads `NAME`, `NAME:KEY=VALUE…`, where a name is that of a preset or a kind, or, for affine models,
  /// `affine:LATENCY[:BANDWIDTH]`.
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
    case AffineParameters.kind:
      table = ["kind": "affine"]
      // The short form that came first.
      if let first = parts.first, !first.contains("=") { table["latency"] = .string(parts.removeFirst()) }
      if let first = parts.first, !first.contains("=") { table["bandwidth"] = .string(parts.removeFirst()) }
    case "file":
      guard let path = parts.first, !path.isEmpty else {
        throw DiskModelError("model 'file' needs a path: file:PATH")
      }
      parts.removeFirst()
      table = try file(path)
    case let name where Self.kinds.contains { $0.kind == name }: table = ["kind": .string(name)]
    default:
      _ = try Self.preset(name)
      table = ["preset": .string(name)]
    }
    for part in parts {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard pair.count == 2 else {
        throw DiskModelError("model '\(specification)': '\(part)' is not KEY=VALUE")
      }
      table[pair[0]] = .string(pair[1])
    }
    do throws(DiskModelError) {
      try self.init(specification: specification, parameters: table)
    } catch {
      // A file has lines, which say better where it is.
      throw name == "file" ? error : DiskModelError("model '\(specification)': \(error)", key: error.key)
    }
  }

  /// Checks the parameters without a disk. With `preset` they are added to that one's.
  package init(specification: String, parameters: ParameterTable) throws(DiskModelError) {
    self.specification = specification
    self.parameters = try Self.expanded(parameters)
    let reader = ParameterReader(self.parameters)
    let kind = try reader.required("kind", reader.string("kind"))
    queueDepth = try reader.integer("queue_depth", in: 1...65_536)
    guard let type = Self.kinds.first(where: { $0.kind == kind }) else {
      throw reader.error(
        "'kind' is \"\(kind)\", not one of \(Self.kinds.map { $0.kind }.joined(separator: ", "))", key: "kind"
      )
    }
    checked = try type.init(reader)
  }

  /// Whether requests take simulated time.
  package var takesTime: Bool { !(checked is ZeroParameters) }

  /// The model for one disk; nil for `zero`: requests then complete when they are made.
  package func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)? {
    guard let model = try checked.make(for: context) else { return nil }
    guard let queueDepth else { return model }
    return FrontQueue(model, depth: queueDepth)
  }

  /// `preset` replaced by what it stands for.
  private static func expanded(_ table: ParameterTable) throws(DiskModelError) -> ParameterTable {
    guard let value = table["preset"] else { return table }
    guard case .string(let name) = value else {
      throw DiskModelError("'preset' is \(value), not a string in quotes", key: "preset")
    }
    let found: Preset
    do { found = try preset(name) } catch {
      throw DiskModelError("'preset' is \(value): \(error)", key: "preset")
    }
    var changes = table
    changes["preset"] = nil
    if let kind = changes["kind"], kind != found.parameters["kind"] {
      throw DiskModelError(
        "'kind' is \(kind), but preset \(name) is of another kind: leave 'kind' out", key: "kind")
    }
    return found.parameters.merging(changes)
  }

  /// - Throws: names what is near.
  package static func preset(_ name: String) throws(DiskModelError) -> Preset {
    if let preset = Preset.all.first(where: { $0.name == name }) { return preset }
    let names = kinds.map { $0.kind } + Preset.all.map(\.name)
    guard !name.contains("/"), !name.hasSuffix(".toml") else {
      throw DiskModelError("unknown model '\(name)'; a model file is named file:\(name)")
    }
    let near = nearNames(to: name, among: names)
    throw DiskModelError(
      near.isEmpty
        ? "unknown model '\(name)'; known are \(names.joined(separator: ", ")) and file:PATH"
        : "unknown model '\(name)'; did you mean \(near.joined(separator: " or "))?")
  }
}
