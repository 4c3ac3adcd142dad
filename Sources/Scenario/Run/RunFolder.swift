// Where a run leaves its output, and where its sockets are.
import BlockIO
import DiskImage
import Glibc
import Linux

/// The output folder of a run: overlays, consoles, the report. A folder of an earlier run is emptied first.
final class RunFolder {
  /// The folder that stays.
  let output: String
  /// Sockets and whatever else goes with the run; its path is short, because socket paths must be.
  let scratch: String

  private static let marker = ".ttblk-run"

  init(output: String) throws(RunError) {
    let isForeign: Bool
    do throws(LinuxError) {
      try makeDirectory(output)
      let entries = try directoryEntries(output)
      isForeign = !entries.isEmpty && !entries.contains(Self.marker)
      if !isForeign { for name in entries { removeTree(output + "/" + name) } }
    } catch { throw .system(error) }
    guard !isForeign else { throw .outputTaken(output) }
    do throws(LinuxError) {
      try writeFile(output + "/" + Self.marker, "made by ttblk run; emptied by the next one\n")
      self.output = try absolutePath(output)
      scratch = try makeTemporaryDirectory(
        under: environmentVariable("XDG_RUNTIME_DIR").flatMap { isWritable($0) ? $0 : nil } ?? "/tmp",
        prefix: "ttblk-")
    } catch { throw .system(error) }
  }

  deinit { removeTree(scratch) }

  let controllerName = "calendar"
  var controllerSocket: String { scratch + "/" + controllerName }

  func socketName(ofDisk index: Int) -> String { "d\(index)" }

  /// What clients, disks and controller say; in the same files however the processes are arranged.
  var clientLog: String { output + "/clients.log" }
  var diskLog: String { output + "/disks.log" }
  var controllerLog: String { output + "/controller.log" }
  /// The decisions of the disks' faults, a line each.
  var faultLog: String { output + "/faults.jsonl" }

  func console(of node: String) -> String { output + "/" + node + ".console" }

  /// Makes the image of a node's disk, and says what to serve.
  func prepare(
    _ disk: Scenario.Disk, of node: Scenario.Node, index: Int, seed: UInt64, registry: FileRegistry
  ) throws(RunError) -> DiskConfiguration {
    let name = "\(node.name)-\(disk.name)"
    let image: String
    // What we made ourselves needs no guess; a guest may write anything to a blank disk.
    var format: ImageFormat?
    switch (disk.source, disk.isOverlay) {
    case (.image(let path), false): (image, format) = (path, disk.format)
    case (.image(let path), true):
      (image, format) = (try overlay(name, on: path, disk.format, registry), .umlCOW)
    case (.blank(let size), false): (image, format) = (try blank("\(name).raw", size), .raw)
    // All nodes of one kind share the empty base, as they would share any other. No disk's name begins with
    // a dot, so none is this file.
    case (.blank(let size), true):
      (image, format) = (
        try overlay(name, on: try blank(".empty-\(size).raw", size), .raw, registry), .umlCOW
      )
    }
    var configuration = DiskConfiguration(
      name: name, image: image, socket: scratch + "/" + socketName(ofDisk: index), model: disk.model,
      seed: seed, isReadOnly: disk.isReadOnly, format: format)
    configuration.faults = disk.plan(in: node)
    configuration.node = node.name
    return configuration
  }

  private func overlay(
    _ name: String, on backing: String, _ format: ImageFormat?, _ registry: FileRegistry
  ) throws(RunError) -> String {
    let path = output + "/" + name + ".cow"
    do throws(DiskImageError) {
      try UMLCOW.create(path: path, backing: backing, format: format, registry: registry)
    } catch { throw .image(error) }
    return path
  }

  private func blank(_ name: String, _ size: UInt64) throws(RunError) -> String {
    let path = output + "/" + name
    if fileExists(path) { return path }
    do throws(LinuxError) {
      let file = Descriptor(
        owning: try retrying("create", path) { open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644) })
      _ = try retrying("ftruncate", path) { ftruncate(file.rawValue, Int(size)) }
    } catch { throw .system(error) }
    return path
  }
}

private func isWritable(_ path: String) -> Bool { access(path, W_OK | X_OK) == 0 && path.utf8.count < 60 }
