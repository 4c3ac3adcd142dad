// What to simulate: nodes, their disks, and how time is kept.
package import BlockDevice
package import DiskImage
import Linux
package import TimeTravel

/// A scenario, as `ttblk run` reads it from TOML.
package struct Scenario: Sendable {
  /// How the nodes' time is kept.
  package enum TimeKeeping: String, Sendable, CaseIterable {
    /// One controller for all nodes: simulated time, shared.
    case external
    /// Each node's clock moves by itself, without waiting; nobody to charge a latency to.
    case infCPU = "inf-cpu"
    /// Host time.
    case off
  }

  /// A disk of one node.
  package struct Disk: Sendable {
    package enum Source: Sendable {
      /// An existing image.
      case image(String)
      /// A new raw image of so many bytes, all zero.
      case blank(UInt64)
    }
    package var name: String
    package var source: Source
    /// Whether the node gets a COW of its own over the image, which stays as it is.
    package var isOverlay: Bool
    package var model = "zero"
    package var isReadOnly = false
    /// Of an existing image; nil guesses.
    package var format: ImageFormat?
    /// What goes wrong with it alone.
    package var faults: [Fault] = []

    package init(
      name: String, source: Source, isOverlay: Bool, model: String = "zero", isReadOnly: Bool = false,
      format: ImageFormat? = nil
    ) {
      self.name = name
      self.source = source
      self.isOverlay = isOverlay
      self.model = model
      self.isReadOnly = isReadOnly
      self.format = format
    }
  }

  /// A simulated machine.
  package struct Node: Sendable {
    package var name: String
    package var kernel: String
    /// nil boots from `root`.
    package var initramfs: String?
    /// The name of the disk with the root file system; nil boots from the initramfs.
    package var root: String?
    package var memory = "64M"
    /// More kernel arguments.
    package var arguments: [String] = []
    /// Jobs of our guests' init, `ttblk.run=` each.
    package var jobs: [String] = []
    /// A script of the host that our guests' init runs, `ttblk.script=`.
    package var script: String?
    package var disks: [Disk] = []
    /// What goes wrong with each of its disks, and with its power.
    package var faults: [Fault] = []
    /// In host time, seconds; past it the node counts as hung.
    package var wallLimit = 120

    package init(name: String, kernel: String) {
      self.name = name
      self.kernel = kernel
    }
  }

  package var name: String
  package var seed: UInt64 = 1
  /// Time of day at simulated time zero, ns since 1970.
  package var timeOfDay: UInt64 = 1_700_000_000_000_000_000
  package var timeKeeping = TimeKeeping.external
  package var transport = Controller.Transport.sharedMemory
  package var nodes: [Node] = []
  /// What its user ought to know of its models, a line each.
  package var notes: [String] = []

  package init(name: String) { self.name = name }

  /// What must hold before anything is started.
  package func validate() throws(ConfigurationError) {
    guard !nodes.isEmpty else { throw ConfigurationError("scenario '\(name)' has no node") }
    var names: Set<String> = []
    var fullNames: Set<String> = []
    for node in nodes {
      if let complaint = complaint(aboutName: node.name) { throw ConfigurationError("node \(complaint)") }
      guard names.insert(node.name).inserted else {
        throw ConfigurationError("two nodes have the name '\(node.name)'")
      }
      var disks: Set<String> = []
      for disk in node.disks {
        guard disks.insert(disk.name).inserted else {
          throw ConfigurationError("node '\(node.name)' has two disks of the name '\(disk.name)'")
        }
        guard fullNames.insert("\(node.name)-\(disk.name)").inserted else {
          throw ConfigurationError(
            "two disks would be '\(node.name)-\(disk.name)' in the output folder: name one of them otherwise")
        }
        guard disk.model == "zero" || timeKeeping == .external else {
          throw ConfigurationError(
            "disk '\(disk.name)' of node '\(node.name)': model \(disk.model) needs time-travel \"external\": "
              + "under \(timeKeeping.rawValue) there is nobody to charge it to")
        }
        try validateFaults(of: disk, node)
        if disk.isReadOnly, disk.isOverlay {
          throw ConfigurationError(
            "disk '\(disk.name)' of node '\(node.name)': "
              + "a read-only disk needs no overlay; say overlay = false"
          )
        }
      }
      guard node.faults.isEmpty || !node.disks.isEmpty else {
        throw ConfigurationError("node '\(node.name)' has faults, but no disk")
      }
      if let root = node.root, !disks.contains(root) {
        throw ConfigurationError("node '\(node.name)': root = \"\(root)\" names none of its disks")
      }
      for path in [node.kernel, node.initramfs, node.script].compactMap({ $0 }) where !fileExists(path) {
        throw ConfigurationError(
          "node '\(node.name)': '\(path)' does not exist"
            + (path == node.kernel ? "; images/guest/build.sh makes a kernel" : ""))
      }
    }
  }
}

extension Scenario {
  private func validateFaults(of disk: Disk, _ node: Node) throws(ConfigurationError) {
    let plan = disk.plan(in: node)
    guard !plan.isEmpty else { return }
    let label = "disk '\(disk.name)' of node '\(node.name)'"
    do throws(FaultError) { try plan.validate() } catch {
      throw ConfigurationError("\(label): \(error)")
    }
    try requireTime(plan, timeKeeping, label)
  }
}

extension Scenario.Disk {
  /// What goes wrong with it: its node's faults, and its own.
  func plan(in node: Scenario.Node) -> FaultPlan { FaultPlan(node.faults + faults) }
}

/// Faults need requests in an order, and most of them a clock.
func requireTime(
  _ plan: FaultPlan, _ keeping: Scenario.TimeKeeping, _ label: String
) throws(ConfigurationError) {
  guard !plan.isEmpty, keeping != .external else { return }
  guard keeping != .off else {
    throw ConfigurationError(
      "\(label): faults need time travel: in real time requests have no order that could be repeated")
  }
  if let fault = plan.faults.first(where: \.needsTime) {
    throw ConfigurationError(
      "\(label): fault '\(fault.name)' needs external time travel: under inf-cpu disks have no clock; "
        + "'after', 'probability' and 'every' in requests do without")
  }
}

/// The guest that scenarios start when they name none: `$TTBLK_GUEST`, or the newest one of
/// `images/guest/build.sh`, which is in `$TTBLK_CACHE`, `$XDG_CACHE_HOME/ttblk` or `~/.cache/ttblk`.
package func guestDirectory(environment: (String) -> String?) -> String {
  if let guest = environment("TTBLK_GUEST") { return guest }
  let cache =
    environment("TTBLK_CACHE")
    ?? (environment("XDG_CACHE_HOME") ?? (environment("HOME") ?? "") + "/.cache") + "/ttblk"
  return cache + "/guest"
}
