// How a node's kernel is started.
import Glibc
import Linux
import Simulation

/// The command line and the environment of a UML kernel.
///
/// A kernel stirs its command line into its entropy (`random_init_early`), so nothing in it may differ from
/// run to run: it starts in the folder of the run's sockets, and every path is relative to that.
struct KernelArguments {
  let node: Scenario.Node
  /// Its name at the controller.
  let identifier: UInt64
  /// Names in the folder.
  let diskSockets: [String]
  let scenario: Scenario
  let folder: RunFolder

  /// Its name at the controller: the disks are 0, nodes count from 1.
  static func identifier(ofNode index: Int) -> UInt64 { UInt64(index + 1) }

  var arguments: [String] {
    var result = ["mem=\(node.memory)", "umid=\(node.name)", "uml_dir=uml/"]
    if node.initramfs != nil {
      result += ["initrd=\(initramfsName)", "root=/dev/ram0", "rdinit=/init"]
    } else if let root = node.root, let index = node.disks.firstIndex(where: { $0.name == root }) {
      result += ["root=/dev/vd\(driveLetters(index))", node.disks[index].isReadOnly ? "ro" : "rw"]
    }
    // Only the first console, to our pipe: the others would open terminals.
    result += ["con=null", "con0=null,fd:1", "ssl=null", "quiet"]
    // Without a ubd UML looks for a file, and complains. Read-only, because nodes may share it.
    if !node.arguments.contains(where: { $0.hasPrefix("ubd0") }) { result.append("ubd0r=/dev/null") }
    switch scenario.timeKeeping {
    case .external: result.append("time-travel=ext:\(identifier):\(folder.controllerName)")
    case .infCPU: result += ["time-travel=inf-cpu", "time-travel-start=\(scenario.timeOfDay)"]
    case .off: break
    }
    // 2 is the virtio identifier of a block device.
    result += diskSockets.map { "virtio_uml.device=\($0):2" }
    result += node.jobs.map { "ttblk.run=\($0)" }
    if let script = node.script { result.append("ttblk.script=\(script)") }
    return result + node.arguments
  }

  /// Where `prepare` puts the initramfs, whatever its real path.
  private var initramfsName: String { "\(node.name).initramfs" }

  /// Makes what the command line names.
  func prepare() throws(LinuxError) {
    guard let initramfs = node.initramfs else { return }
    let link = folder.scratch + "/" + initramfsName
    let target = try absolutePath(initramfs)
    _ = try retrying("symlink", link) { symlink(target, link) }
  }

  /// Entropy from the scenario's seed and the node's name, by the preloaded library; nothing else of ours.
  func environment(preload: String) -> [String] {
    var entropy = RandomStream(seed: scenario.seed, name: "entropy/\(node.name)")
    return [
      "PATH=/usr/bin:/bin", "HOME=\(folder.scratch)", "TERM=dumb", "TMPDIR=\(memoryDirectory)",
      "LD_PRELOAD=\(preload)",
      "TTBLK_ENTROPY=\(String(entropy.next(), radix: 16))",
    ]
  }

  /// Guest memory is a file there; on a disk it would be written back.
  private var memoryDirectory: String { access("/dev/shm", W_OK) == 0 ? "/dev/shm" : folder.scratch }

  /// `a` to `z`, then `aa`: the names of Linux's disks.
  private func driveLetters(_ index: Int) -> String {
    let letter = String(UnicodeScalar(UInt8(ascii: "a") + UInt8(index % 26)))
    return index < 26 ? letter : driveLetters(index / 26 - 1) + letter
  }
}
