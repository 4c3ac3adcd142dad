// A scenario's TOML.
import BlockDevice
import DiskImage
import Linux
import TimeTravel

extension Scenario {
  /// Reads a scenario. Relative paths in it are relative to its own directory.
  package static func load(path: String) throws(ConfigurationError) -> Scenario {
    let table = try ConfigurationTable(text: try readText(path), file: path)
    let directory = directoryName(path)
    var scenario = Scenario(name: baseName(path, removing: ".toml"))
    if let name = try table.string("name") { scenario.name = name }
    if let seed = try table.integer("seed", in: 0...Int.max) { scenario.seed = UInt64(seed) }
    if let time = try table.integer("time-of-day", in: 0...Int.max) { scenario.timeOfDay = UInt64(time) }
    if let keeping = try table.parsed(
      "time-travel", as: choices(TimeKeeping.allCases.map(\.rawValue)), TimeKeeping.init(rawValue:))
    {
      scenario.timeKeeping = keeping
    }
    if let transport = try table.parsed(
      "transport", as: choices(Controller.Transport.allCases.map(\.rawValue)),
      Controller.Transport.init(rawValue:))
    {
      scenario.transport = transport
    }
    for node in try table.tables("node") {
      scenario.nodes += try readNodes(node, directory, &scenario.notes)
    }
    try table.finish()
    do throws(ConfigurationError) {
      try scenario.validate()
    } catch {
      throw ConfigurationError(error.description, file: path)
    }
    return scenario
  }

  /// One `[[node]]`: `count` of them, named `name0`, `name1` and so on if there is a count.
  private static func readNodes(
    _ table: ConfigurationTable, _ directory: String, _ notes: inout [String]
  ) throws(ConfigurationError) -> [Node] {
    let guest = guestDirectory(environment: environmentVariable)
    let name = try table.string("name")
    let count = try table.integer("count", in: 1...4000)
    var node = Node(
      name: name ?? "", kernel: try table.string("kernel").map { resolve($0, directory) } ?? guest + "/linux")
    node.root = try table.string("root")
    let initramfs = try table.string("initramfs").map { resolve($0, directory) }
    node.initramfs = node.root == nil ? initramfs ?? guest + "/initramfs.cpio.gz" : nil
    if let memory = try table.parsed("memory", as: "a size like \"64M\"", Self.memory) {
      node.memory = memory
    }
    node.arguments = try table.strings("arguments") ?? []
    node.jobs = try table.strings("run") ?? []
    node.script = try table.string("script").map { resolve($0, directory) }
    if let limit = try table.integer("wall-limit", in: 1...86_400) { node.wallLimit = limit }
    for disk in try table.tables("disk") { node.disks.append(try readDisk(disk, directory, guest, &notes)) }
    for fault in try table.tables("fault") { node.faults.append(try Fault(fault, isOfNode: true)) }
    // A key with a typo first: it is why another one is missing.
    try table.finish()
    guard let name else { throw table.error("a node needs 'name'") }
    if node.root != nil, initramfs != nil {
      throw table.error("a node boots from 'root' or from 'initramfs', not from both", key: "initramfs")
    }
    guard let count else { return [node] }
    return (0..<count).map { index in
      var copy = node
      copy.name = "\(name)\(index)"
      return copy
    }
  }

  private static func readDisk(
    _ table: ConfigurationTable, _ directory: String, _ guest: String, _ notes: inout [String]
  ) throws(ConfigurationError) -> Disk {
    let name = try table.string("name")
    let image = try table.string("image").map {
      $0 == "debian" ? guest + "/debian.ext4" : resolve($0, directory)
    }
    let size = try table.parsed("size", as: "a size like \"64M\" or \"4G\", a multiple of 4 KiB", byteCount)
    let isReadOnly = try table.boolean("readonly") ?? false
    let isOverlay = try table.boolean("overlay") ?? !isReadOnly
    let model = try table.string("model").map { resolveModel($0, directory) } ?? "zero"
    let format = try table.parsed(
      "format", as: "one of \(DiskConfiguration.formats)", ImageFormat.init(rawValue:))
    var faults: [Fault] = []
    for fault in try table.tables("fault") { faults.append(try Fault(fault)) }
    // A key with a typo first: it is why another one is missing.
    try table.finish()
    guard let name else { throw table.error("a disk needs 'name'") }
    if let complaint = complaint(aboutName: name) { throw table.error(complaint, key: "name") }
    let source: Disk.Source
    switch (image, size) {
    case (let image?, nil):
      guard fileExists(image) else { throw table.error("image '\(image)' does not exist", key: "image") }
      source = .image(image)
    case (nil, let size?):
      guard format == nil else {
        throw table.error("'format' is that of an 'image': a disk with a 'size' is made here", key: "format")
      }
      source = .blank(size)
    default: throw table.error("disk '\(name)' needs 'image' or 'size', one of them")
    }
    do throws(ConfigurationError) {
      _ = try readModel(model) { if !notes.contains($0) { notes.append($0) } }
    } catch {
      throw table.error(error.description, key: "model")
    }
    var disk = Disk(
      name: name, source: source, isOverlay: isOverlay, model: model, isReadOnly: isReadOnly, format: format)
    disk.faults = faults
    return disk
  }

  /// `64M`, `4G`, `4096`: bytes, a positive multiple of 4 KiB.
  package static func byteCount(_ text: String) -> UInt64? {
    let scales: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
    guard let last = text.last else { return nil }
    let scale = scales[last]
    guard let number = UInt64(scale == nil ? text[...] : text.dropLast()) else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: scale ?? 1)
    guard !overflow, product > 0, product % 4096 == 0, product < 8 << 40 else { return nil }
    return product
  }

  private static func memory(_ text: String) -> String? { byteCount(text).map { _ in text } }

  private static func choices(_ values: [String]) -> String {
    values.map { "\"\($0)\"" }.joined(separator: " or ")
  }
}
