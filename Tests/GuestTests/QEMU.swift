// Debian's own kernel under QEMU, with our disks.
import Foundation
import Linux

/// A disk of a machine.
struct QEMUDisk {
  let socket: String
  /// Options of `vhost-user-blk-pci`.
  var device = "num-queues=2"
  /// Seconds until QEMU looks for a server that has gone; nil: never.
  var reconnect: Int?
}

extension Guest {
  /// Starts a machine with two processors, in the test's folder; its disks are `vda` and so on, in their
  /// order.
  ///
  /// Always emulated: ordinary kernels do not boot under the KVM of machines that are themselves guests.
  /// - Parameters:
  ///   - script: of the host, for the guest to run.
  ///   - monitor: where QEMU takes commands.
  func startQEMU(
    in folder: Folder, disks: [QEMUDisk], jobs: [String] = [], script: String? = nil, monitor: String? = nil
  ) throws -> Program {
    let path = "/usr/bin/qemu-system-x86_64"
    guard fileExists(path) else { throw RigError("no QEMU: apt-get install qemu-system-x86") }
    let words =
      ["console=ttyS0", "quiet", "rdinit=/init-qemu", "panic=-1", "mitigations=off"]
      + jobs.map { "ttblk.run=\($0)" } + (script == nil ? [] : ["ttblk.script=/script"])
    var arguments = [
      "-machine", "q35,memory-backend=memory", "-object",
      "memory-backend-memfd,id=memory,size=256M,share=on", "-m", "256", "-smp", "2", "-accel",
      "tcg,thread=multi", "-cpu", "max", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
      "-serial", "stdio", "-kernel", "\(directory)/vmlinuz-qemu", "-initrd",
      "\(directory)/initramfs-qemu.cpio.gz", "-append", words.joined(separator: " "),
    ]
    if let script { arguments += ["-fw_cfg", "name=opt/ttblk/script,file=\(script)"] }
    if let monitor { arguments += ["-qmp", "unix:\(monitor),server=on,wait=off"] }
    for (index, disk) in disks.enumerated() {
      let reconnect = disk.reconnect.map { ",reconnect=\($0)" } ?? ""
      arguments += [
        "-chardev", "socket,id=c\(index),path=\(disk.socket)\(reconnect)", "-device",
        "vhost-user-blk-pci,chardev=c\(index),\(disk.device)",
      ]
    }
    arguments += [
      "-drive", "if=none,id=programs,file=\(directory)/programs.ext4,format=raw,readonly=on", "-device",
      "virtio-blk-pci,drive=programs,serial=ttblk-programs",
    ]
    return try Program(path, arguments, in: folder.path)
  }
}

/// What QEMU takes commands by (QMP).
final class QEMUMonitor {
  private let socket: UnixSocket
  private var unread = ""

  init(_ path: String) throws {
    socket = try UnixSocket.connect(to: path)
    try execute("qmp_capabilities")
  }

  /// Returns when it is done.
  func execute(_ command: String) throws {
    let text = Array("{\"execute\":\"\(command)\"}\n".utf8)
    guard try text.withUnsafeBytes({ try socket.send($0) }) == text.count else {
      throw RigError("QEMU took part of '\(command)'")
    }
    // Events and the greeting come in between.
    while true {
      let line = try nextLine()
      if line.contains("\"error\"") { throw RigError("QEMU refuses '\(command)': \(line)") }
      if line.contains("\"return\"") { return }
    }
  }

  private func nextLine() throws -> String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      if let end = unread.firstIndex(where: \.isNewline) {
        defer { unread = String(unread[unread.index(after: end)...]) }
        return String(unread[..<end])
      }
      let count = try buffer.withUnsafeMutableBytes { try socket.receive(into: $0) }
      guard count > 0 else { throw RigError("QEMU closed its monitor") }
      unread += String(decoding: buffer[..<count], as: UTF8.self)
    }
  }
}
