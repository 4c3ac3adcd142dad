// ttblk model plot
import ArgumentParser
import DiskModel
import Glibc
import Linux
import Scenario

struct ModelPlotCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plot",
    abstract: "Draw a model: latencies over depth, an arm's seeks, the cliff of garbage collection.",
    discussion: """
      For each picture a folder receives NAME.csv, the gnuplot script NAME.gnuplot, and NAME.png if gnuplot \
      is installed. latency: random reads of 4 KiB, how they are distributed at depths from 1 to 64. \
      depth: requests a second and percentiles over depth. For hard disks, seek: first percentile and mean \
      latency of a read so far away from the one before. For SSDs, cliff: random writes on a full \
      drive, requests a second over what was written.
      """)

  @OptionGroup var model: ModelOptions

  @Option(
    help: ArgumentHelp("Where pictures go; the model's name with .plot if not given.", valueName: "folder"),
    completion: .directory)
  var output: String?

  @Option(help: ArgumentHelp("Requests at each depth.", valueName: "n"))
  var count = 5000

  func validate() throws {
    guard (100...1_000_000).contains(count) else { throw ValidationError("--count is 100 to 1000000") }
  }

  func run() throws {
    let description = try model.describe()
    _ = try model.make(description)
    let folder = output ?? model.name.map { $0 == "/" ? "_" : $0 }.map(String.init).joined() + ".plot"
    if mkdir(folder, 0o777) != 0, errno != EEXIST { throw LinuxError("mkdir", folder) }
    var pictures = try latencyPictures(description)
    switch description.parameters["kind"] {
    case "hdd": pictures.append(try seekPicture(description))
    case "ssd": pictures.append(try cliffPicture(description))
    default: break
    }
    let gnuplot = findProgram("gnuplot")
    for picture in pictures {
      let path = folder + "/" + picture.name
      try writeFile(path + ".csv", picture.data)
      try writeFile(path + ".gnuplot", picture.script)
      if let gnuplot {
        try draw(picture.name + ".gnuplot", with: gnuplot, in: folder)
        announce("\(path).png")
      } else {
        announce("\(path).csv")
      }
    }
    if gnuplot == nil {
      throw CommandFailure(
        .failed,
        "gnuplot is not installed (Debian: gnuplot-nox): '\(folder)' has data and scripts, no pictures")
    }
  }

  private func draw(_ script: String, with gnuplot: String, in folder: String) throws {
    let nothing = Descriptor(
      owning: try retrying("open", "/dev/null") { open("/dev/null", O_RDWR | O_CLOEXEC) })
    let process = try ChildProcess(
      path: gnuplot, arguments: [script], directory: folder, input: nothing.rawValue,
      output: nothing.rawValue, error: STDERR_FILENO)
    var entry = pollfd(fd: process.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    _ = try retrying("poll", gnuplot) { poll(&entry, 1, -1) }
    guard process.poll() == .exited(0) else {
      throw CommandFailure(.failed, "gnuplot failed on '\(folder)/\(script)'")
    }
  }

  /// Where the shell would find it.
  private func findProgram(_ name: String) -> String? {
    (environmentVariable("PATH") ?? "").split(separator: ":").map { "\($0)/\(name)" }
      .first { access($0, X_OK) == 0 }
  }
}
