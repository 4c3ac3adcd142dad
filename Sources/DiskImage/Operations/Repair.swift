// Putting right what can be put right.
package import BlockIO

/// Repairing an image in place; what is changed is saved first.
package enum Repair {
  /// What to repair besides bits that make no sense and a file that is too short.
  package struct Options: Sendable {
    /// Complete pages that are in the file only in part.
    package var mixedPages: Bool
    /// Give back the space of data that no bit says anything of.
    package var leaks: Bool
    /// Only say what would be done.
    package var dryRun: Bool

    /// Options with these values.
    package init(mixedPages: Bool = false, leaks: Bool = false, dryRun: Bool = false) {
      self.mixedPages = mixedPages
      self.leaks = leaks
      self.dryRun = dryRun
    }
  }

  /// What a repair did.
  package struct Outcome: Equatable, Sendable {
    /// What was (or would be) put right.
    package let repaired: [Finding]
    /// What is still as it was, worst first: not asked for, or beyond repair.
    package let remaining: [Finding]
    /// Where what was changed is saved; nil if nothing had to be.
    package let saved: String?
  }

  /// How the names of the files begin in which repairs of an image save what they change.
  package static func savedStart(of path: String) -> String { path + ".repair-" }

  /// Repairs an image that nobody else uses meanwhile.
  ///
  /// It may be interrupted at any moment, also by a loss of power, and be called again: every step leaves the
  /// image at least as it was.
  /// - Parameter saved: a file that does not exist yet; it is on the medium before the image is changed.
  ///   Its name begins with `savedStart(of:)`, so that the next repair finds what a killed one left.
  package static func run(
    path: String, options: Options, format: ImageFormat? = nil, savingTo saved: String,
    registry: FileRegistry, engine: any BlockEngine = SynchronousEngine(), progress: Progress
  ) throws(DiskImageError) -> Outcome {
    let (file, format) = try openOperationFile(
      path, format: format, writable: !options.dryRun, registry: registry, engine: engine)
    if format == .qcow2 {
      return try QCOW2.repair(
        file, options: options, savingTo: saved, registry: registry, engine: engine)
    }
    guard format == .umlCOW else {
      throw .unsuitable(path: path, reason: "is raw: it has nothing that could be repaired")
    }
    return try UMLCOW.repair(
      file, options: options, savingTo: saved, registry: registry, engine: engine, progress: progress)
  }

  /// Puts back what a repair saved; may be interrupted and called again.
  ///
  /// Refused when the image was written to since, in a way that would be lost.
  package static func undo(
    path: String, from saved: String, registry: FileRegistry, engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    let (file, format) = try openOperationFile(
      path, format: nil, writable: true, registry: registry, engine: engine)
    guard format == .umlCOW else {
      throw .unsuitable(
        path: path, reason: "is \(format.rawValue): only the repair of a UML COW file can be taken back")
    }
    let pieces = try registry.openFile(saved, writable: false, lock: true)
    try UMLCOW.undoRepair(file, from: pieces, registry: registry, engine: engine)
  }
}
