// ttblk serve
import ArgumentParser
import DiskImage
import Glibc
import Linux
import NBD
import Scenario
import Telemetry

struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Serve disks to vhost-user clients (UML kernels, QEMU) and to NBD clients.",
    discussion: """
      Each disk listens on its own socket and has one client at a time; disks with the same nbd= address \
      share that, are found there by their names, and have many. In real time each queue, and each NBD \
      client, has a thread of its own. A model charges its latency in simulated time, and needs external \
      time travel. Ends on SIGINT or SIGTERM, or with the simulation; then every image is flushed and \
      closed. SIGUSR1 has the sizes of the images looked at again: after 'truncate -s' on a raw image its \
      guest sees a longer disk.
      """)

  @Option(
    name: .customLong("disk"),
    help: ArgumentHelp(
      """
      A disk: name=NAME,image=PATH, and socket=PATH or nbd=unix:PATH|HOST[:PORT] or both; socket=fd:N takes \
      an inherited socket over, a listening one or a connection (systemd's first is fd:3). Optional: \
      format=raw|uml-cow|qcow2, readonly, model=NAME[:KEY=VALUE…] (ttblk model list), \
      model=affine:50us[:500MB/s], model=file:FILE.toml, faults=FILE.toml ([[fault]] tables; under time \
      travel only); in real time \
      engine=auto|io_uring|libaio|threads|synchronous, direct (O_DIRECT), writethrough (a write is \
      durable when it completes), queues=N. A comma in a path is written twice. Repeatable.
      """,
      valueName: "disk"))
  var diskOptions: [String] = []

  @Option(
    help: ArgumentHelp(
      "A TOML file with [[disk]] tables of the same keys, seed, and the tls-… options below.",
      valueName: "file"))
  var config: String?

  @Option(
    help: ArgumentHelp(
      """
      NBD clients have to talk TLS (1.2 or 1.3): this folder has server-cert.pem and server-key.pem, as for \
      qemu-nbd and nbdkit.
      """,
      valueName: "folder"))
  var tlsCertificates: String?

  @Option(
    help: ArgumentHelp(
      "The same with shared keys: a file with lines USER:KEY, the key in hexadecimal (psktool writes it).",
      valueName: "file"))
  var tlsPsk: String?

  @Flag(
    help: """
      Let nobody in without a certificate signed by ca-cert.pem of that folder, and not revoked by its \
      ca-crl.pem; shared keys are proof enough.
      """)
  var tlsVerifyClients = false

  @Option(
    help: ArgumentHelp("off, inf-cpu, or external=CONTROLLER_SOCKET.", valueName: "mode"))
  var timeTravel = "off"

  @Option(help: ArgumentHelp("Our name at the controller; ties at one time go to the lower.", valueName: "n"))
  var timeTravelId: UInt64 = 0

  @Option(
    help: ArgumentHelp(
      """
      Where the bits of UML COW and the tables of qcow2 disks are kept that are not flushed, in real \
      time, so that a server that is killed (SIGKILL, out of memory) loses nothing: a folder in memory \
      (tmpfs) that only this user may look into, or 'none'. By default /dev/shm/ttblk-UID. The next ttblk \
      that opens such an image for writing, as the same user, takes them over; nothing else may write to \
      it before. A disk that finds no room there goes on without, and says so.
      """,
      valueName: "folder"))
  var journal: String?

  @Option(
    help: ArgumentHelp(
      "Write what was done to this file at the end, as TOML; what models counted is in [disk.counters].",
      valueName: "file"))
  var report: String?

  @Option(
    help: ArgumentHelp("Write what faults did to this file, a line of JSON each.", valueName: "file"))
  var faultLog: String?

  @Option(
    help: ArgumentHelp("Let the faults happen that such a file has, and no others.", valueName: "file"))
  var replayFaults: String?

  @Option(
    help: ArgumentHelp(
      "What models and faults draw depends on this and the disks' names; 1 if not given.", valueName: "n"))
  var seed: UInt64?

  @Option(help: ArgumentHelp("As --disk with this socket; needs --blk-file.", valueName: "path"))
  var socketPath: String?

  @Option(help: ArgumentHelp("As --disk with socket=fd:N; needs --blk-file.", valueName: "n"))
  var fd: Int32?

  @Option(help: ArgumentHelp("The image of --socket-path or --fd.", valueName: "path"))
  var blkFile: String?

  @Flag(help: "The disk of --blk-file is read-only.")
  var readOnly = false

  @Flag(help: "Print what QEMU's vhost-user back-end conventions call capabilities, and end.")
  var printCapabilities = false

  @Flag(help: "End when a vhost-user client has gone, and no other client is there.")
  var exitOnDisconnect = false

  @Flag(help: "Say which engine serves each disk, and why.")
  var verbose = false

  /// The disk of the back-end program conventions (QEMU vhost-user.rst).
  private func conventionalDisk() throws -> DiskConfiguration? {
    guard socketPath != nil || fd != nil || blkFile != nil || readOnly else { return nil }
    guard let blkFile, (socketPath == nil) != (fd == nil) else {
      throw CommandFailure(.usage, "give --blk-file and either --socket-path or --fd, or use --disk")
    }
    return DiskConfiguration(
      name: "disk", image: blkFile, socket: socketPath ?? fd.map { "fd:\($0)" }, isReadOnly: readOnly)
  }

  /// Where journals are; a folder that was named must be usable.
  private func journals() throws -> JournalFolder? {
    switch journal {
    case nil: return timeTravel == "off" ? .standard() : nil
    case "none": return nil
    case let path?:
      guard timeTravel == "off" else {
        throw CommandFailure(.usage, "--journal is for real time: simulated disks need none")
      }
      let folder = JournalFolder(path: resolve(path, try absolutePath(".")))
      do { try folder.check() } catch { throw CommandFailure(.usage, "--journal: \(error)") }
      return folder
    }
  }

  func run() throws {
    if printCapabilities {
      return announce(
        JSONValue.object([
          "type": .string("block"), "features": .array([.string("read-only"), .string("blk-file")]),
        ]).indented)
    }
    var configuration = try config.map(ServeConfiguration.init(path:)) ?? ServeConfiguration()
    if let disk = try conventionalDisk() { configuration.disks.insert(disk, at: 0) }
    for option in diskOptions { configuration.disks.append(try DiskConfiguration(parsing: option)) }
    if let seed { for index in configuration.disks.indices { configuration.disks[index].seed = seed } }
    if let tlsCertificates { configuration.tls.certificates = tlsCertificates }
    if let tlsPsk { configuration.tls.keys = tlsPsk }
    if tlsVerifyClients { configuration.tls.verifiesClients = true }
    try configuration.validate()
    let disks = configuration.disks
    let mode: TimeTravelMode
    switch timeTravel {
    case "off": mode = .off
    case "inf-cpu": mode = .infiniteCPU
    case let text where text.hasPrefix("external=") && text.count > 9:
      mode = .external(controller: String(text.dropFirst(9)), identifier: timeTravelId)
    default:
      throw CommandFailure(
        .usage, "--time-travel \(timeTravel): use off, inf-cpu or external=CONTROLLER_SOCKET")
    }
    let signals = try Signals([SIGINT, SIGTERM, SIGHUP, SIGUSR1])
    let loop = try EventLoop()
    let decisions = try FaultDecisions(log: faultLog, replaying: replayFaults)
    let service = try ServeLoop(
      disks: disks, mode: mode, decisions: decisions, journals: try journals(),
      tls: configuration.tls, loop: loop, report: warn)
    announce("ready: \(disks.count) disk\(disks.count == 1 ? "" : "s")")
    if verbose { for line in service.server.engines { announce(line) } }
    service.endsWithClient = exitOnDisconnect
    let complaint = try service.run(signals: signals)
    let losses = service.server.close()
    for line in losses { warn(line) }
    if let report { try ServeReport(service).write(to: report) }
    if !losses.isEmpty { throw CommandFailure(.failed, "some of what was written may be lost") }
    if let complaint { throw CommandFailure(.simulation, complaint) }
  }
}
