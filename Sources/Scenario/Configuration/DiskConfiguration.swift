// A disk to serve.
package import BlockDevice
package import BlockIO
package import DiskImage
package import DiskModel
import Linux
package import NBD

/// One disk of `ttblk serve`: `name=d0,image=PATH,socket=PATH[,model=affine:50us][,readonly]`.
///
/// What follows `format` is for real time alone.
package struct DiskConfiguration: Sendable {
  package var name: String
  package var image: String
  /// Where vhost-user clients connect: a path, or `fd:N` for a socket that we were given, which listens or is
  /// a connection.
  package var socket: String?
  /// As `ModelDescription` reads it; `zero` completes requests when they are made.
  package var model = "zero"
  /// The run's; with the name it decides what the model draws.
  package var seed: UInt64 = 1
  package var isReadOnly = false
  /// nil looks at the file's first bytes.
  package var format: ImageFormat?
  /// What moves the bytes; nil chooses by the file.
  package var engine: EngineKind?
  /// Where NBD clients find it, by its name: `unix:PATH` or `HOST:PORT`.
  package var nbd: NBDAddress?
  /// Whether bytes go past the host's page cache (O_DIRECT).
  package var isDirect = false
  /// Whether a write is durable when it completes, as long as the driver says nothing else.
  package var isWriteThrough = false
  /// How many queues a driver may use; nil for as many as it likes.
  package var queues: Int?
  /// What goes wrong; under time travel only.
  package var faults = FaultPlan()
  /// The node whose power is this disk's; nil for a disk of its own.
  package var node: String?

  package init(
    name: String, image: String, socket: String?, model: String = "zero", seed: UInt64 = 1,
    isReadOnly: Bool = false, format: ImageFormat? = nil
  ) {
    self.name = name
    self.image = image
    self.socket = socket
    self.model = model
    self.seed = seed
    self.isReadOnly = isReadOnly
    self.format = format
  }

  /// Reads one `--disk` option. A comma in a path is written twice, as QEMU has it.
  package init(parsing text: String) throws(ConfigurationError) {
    var fields: [String: String] = [:]
    for part in Self.split(text) {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let isSwitch = pair.count == 1 && Self.switches.contains(pair[0])
      guard isSwitch || (pair.count == 2 && Self.keys.contains(pair[0])) else {
        throw ConfigurationError("--disk \(text): '\(part)' is not one of \(Self.forms)")
      }
      guard fields.updateValue(isSwitch ? "" : pair[1], forKey: pair[0]) == nil else {
        throw ConfigurationError("--disk \(text): '\(pair[0])' twice")
      }
    }
    guard let image = fields["image"], !image.isEmpty else {
      throw ConfigurationError("--disk \(text): no image=PATH")
    }
    let socket = fields["socket"]
    guard socket ?? fields["nbd"] != nil, socket != "" else {
      throw ConfigurationError("--disk \(text): no socket=PATH, and no nbd=ADDRESS")
    }
    guard let name = fields["name"] else { throw ConfigurationError("--disk \(text): no name=NAME") }
    func parsed<Value>(
      _ key: String, as what: String, _ make: (String) -> Value?
    ) throws(ConfigurationError) -> Value? {
      guard let word = fields[key] else { return nil }
      guard let value = make(word) else {
        throw ConfigurationError("--disk \(text): \(key) '\(word)' is not \(what)")
      }
      return value
    }
    self.init(
      name: name, image: image, socket: socket, model: fields["model"] ?? "zero",
      isReadOnly: fields["readonly"] != nil,
      format: try parsed("format", as: "one of \(Self.formats)", ImageFormat.init(rawValue:)))
    if let word = try parsed("engine", as: "one of \(Self.engines)", Self.engine) { engine = word.kind }
    if let word = fields["nbd"] {
      do throws(NBDError) { nbd = try NBDAddress(parsing: word) } catch {
        throw ConfigurationError("--disk \(text): \(error)")
      }
    }
    isDirect = fields["direct"] != nil
    isWriteThrough = fields["writethrough"] != nil
    queues = try parsed("queues", as: "a number from 1 to \(Limits.queuesMax)", Int.init)
    if let file = fields["faults"] { faults = try FaultPlan.load(path: file) }
    try validate(context: "--disk \(text)")
  }

  /// Reads one `[[disk]]` of a configuration file in `directory`, from where other files are seen.
  init(_ table: ConfigurationTable, _ directory: String) throws(ConfigurationError) {
    let name = try table.string("name")
    let image = try table.string("image")
    let socket = try table.string("socket")
    let model = try table.string("model").map { resolveModel($0, directory) }
    let isReadOnly = try table.boolean("readonly")
    let format = try table.parsed("format", as: "one of \(Self.formats)", ImageFormat.init(rawValue:))
    let engine = try table.parsed("engine", as: "one of \(Self.engines)", Self.engine)
    let isDirect = try table.boolean("direct")
    let isWriteThrough = try table.boolean("writethrough")
    let queues = try table.integer("queues", in: 1...Limits.queuesMax)
    let nbd = try table.string("nbd")
    let faultFile = try table.string("faults").map { resolve($0, directory) }
    var faults: [Fault] = []
    for fault in try table.tables("fault") { faults.append(try Fault(fault)) }
    // A key with a typo first: it is why another one is missing.
    try table.finish()
    guard let name else { throw table.error("a disk needs 'name'") }
    guard let image else { throw table.error("disk '\(name)' needs 'image'") }
    guard socket != nil || nbd != nil else {
      throw table.error("disk '\(name)' needs 'socket' or 'nbd'")
    }
    self.init(
      name: name, image: image, socket: socket, model: model ?? "zero", isReadOnly: isReadOnly ?? false,
      format: format)
    self.engine = engine?.kind
    if let nbd {
      do throws(NBDError) { self.nbd = try NBDAddress(parsing: nbd) } catch {
        throw table.error("disk '\(name)': \(error)", key: "nbd")
      }
    }
    self.isDirect = isDirect ?? false
    self.isWriteThrough = isWriteThrough ?? false
    self.queues = queues
    if let faultFile { faults = try FaultPlan.load(path: faultFile).faults + faults }
    self.faults = FaultPlan(faults)
    do throws(FaultError) { try self.faults.validate() } catch {
      throw table.error("disk '\(name)': \(error)")
    }
    do throws(ConfigurationError) {
      try validate(context: "disk '\(name)'")
    } catch {
      let key = nameComplaint != nil ? "name" : !hasValidSocket ? "socket" : "model"
      throw table.error(error.description, key: key)
    }
  }

  /// The word of `engine=`: `auto` leaves the choice to the file.
  private struct EngineWord { let kind: EngineKind? }

  private static func engine(_ word: String) -> EngineWord? {
    word == "auto" ? EngineWord(kind: nil) : EngineKind(rawValue: word).map { EngineWord(kind: $0) }
  }

  /// The model as it is written, its parameters checked.
  /// - Parameter note: takes a line that the user ought to know.
  package func describeModel(
    note: (String) -> Void = { _ in }
  ) throws(ConfigurationError) -> ModelDescription {
    try readModel(model, note: note)
  }

  /// What can be said without looking at the disk's files.
  package func validate(context: String) throws(ConfigurationError) {
    if let nameComplaint { throw ConfigurationError("\(context): \(nameComplaint)") }
    guard hasValidSocket else {
      throw ConfigurationError(
        "\(context): socket path of \(socket?.utf8.count ?? 0) bytes; "
          + "the kernel takes \(UnixSocket.pathLengthMax): use a shorter directory"
      )
    }
    if let queues, !(1...Limits.queuesMax).contains(queues) {
      throw ConfigurationError("\(context): queues \(queues) is not a number from 1 to \(Limits.queuesMax)")
    }
    do throws(ConfigurationError) {
      _ = try describeModel()
    } catch {
      throw ConfigurationError("\(context): \(error)")
    }
  }

  private var nameComplaint: String? { complaint(aboutName: name, lengthMax: diskNameLengthMax) }

  private var hasValidSocket: Bool { socket?.utf8.count ?? 0 <= UnixSocket.pathLengthMax }

  private static let keys: Set<String> = [
    "name", "image", "socket", "model", "format", "engine", "queues", "nbd", "faults",
  ]

  private static let switches: Set<String> = ["readonly", "direct", "writethrough"]

  private static let forms =
    "name=, image=, socket=, model=, format=, faults=, engine=, queues=, nbd=, readonly, direct, writethrough"

  static let engines = (["auto"] + EngineKind.allCases.map(\.rawValue)).joined(separator: ", ")

  static let formats = ImageFormat.allCases.map(\.rawValue).joined(separator: ", ")

  private static func split(_ text: String) -> [String] {
    var parts = [""]
    var rest = text[...]
    while let character = rest.popFirst() {
      if character != "," {
        parts[parts.count - 1].append(character)
      } else if rest.first == "," {
        parts[parts.count - 1].append(rest.removeFirst())
      } else {
        parts.append("")
      }
    }
    return parts
  }
}
