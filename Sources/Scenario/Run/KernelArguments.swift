// How a node's kernel is started.
import Glibc
import Linux
import Simulation

/// The command line and the environment of a UML kernel.
struct KernelArguments {
  let node: Scenario.Node
  /// Its name at the controller: the disks are 0, nodes count from 1.
  let identifier: UInt64
  let diskSockets: [String]
  let scenario: Scenario
  let controllerSocket: String
  let scratch: String

  var arguments: [String] {
    var result = ["mem=\(node.memory)", "umid=\(node.name)", "uml_dir=\(scratch)/uml/"]
    if let initramfs = node.initramfs {
      result += ["initrd=\(initramfs)", "root=/dev/ram0", "rdinit=/init"]
    } else if let root = node.root, let index = node.disks.firstIndex(where: { $0.name == root }) {
      result += ["root=/dev/vd\(driveLetters(index))", node.disks[index].isReadOnly ? "ro" : "rw"]
    }
    // Only the first console, to our pipe; the others would open terminals.
    result += ["con=null", "con0=null,fd:1", "quiet"]
    switch scenario.timeKeeping {
    case .external: result.append("time-travel=ext:\(identifier):\(controllerSocket)")
    case .infCPU: result += ["time-travel=inf-cpu", "time-travel-start=\(scenario.timeOfDay)"]
    case .off: break
    }
    // 2 is the virtio identifier of a block device.
    result += diskSockets.map { "virtio_uml.device=\($0):2" }
    result += node.jobs.map { "ttblk.run=\($0)" }
    if let script = node.script { result.append("ttblk.script=\(script)") }
    return result + node.arguments
  }

  /// Entropy from the scenario's seed and the node's name, by the preloaded library; nothing else of ours.
  func environment(preload: String) -> [String] {
    var entropy = RandomStream(seed: scenario.seed, name: "entropy/\(node.name)")
    return [
      "PATH=/usr/bin:/bin", "HOME=\(scratch)", "TERM=dumb", "TMPDIR=\(memoryDirectory)", "LD_PRELOAD=\(preload)",
      "TTBLK_ENTROPY=\(String(entropy.next(), radix: 16))",
    ]
  }

  /// Guest memory is a file there; on a disk it would be written back.
  private var memoryDirectory: String { access("/dev/shm", W_OK) == 0 ? "/dev/shm" : scratch }

  /// `a` to `z`, then `aa`: the names of Linux's disks.
  private func driveLetters(_ index: Int) -> String {
    let letter = String(UnicodeScalar(UInt8(ascii: "a") + UInt8(index % 26)))
    return index < 26 ? letter : driveLetters(index / 26 - 1) + letter
  }
}
