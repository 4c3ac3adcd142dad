// Another backing file, or the same one with another time.
package import BlockIO

/// Giving an image another backing file.
package enum Rebase {
  /// What a rebase did.
  package struct Outcome: Equatable, Sendable {
    /// The new backing file, as the header names it.
    package let backing: String
    /// Bytes of the disk that were copied into the image since the backing files differ there.
    package let copied: UInt64
  }

  /// Gives an image another backing file; what the image shows stays the same.
  ///
  /// It may be interrupted at any moment, also by a loss of power, and be called again: until the end the
  /// image stands on its old backing file, and then on the new one.
  /// - Parameters:
  ///   - backing: of a UML COW file as long as the old one; empty gives a qcow2 file none.
  ///   - unsafe: change only what the header says, and trust that the new file has the same contents. The old
  ///     one need not exist any more.
  package static func run(
    path: String, backing: String, backingFormat: ImageFormat? = nil, unsafe: Bool, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine(), progress: Progress
  ) throws(DiskImageError) -> Outcome {
    let (file, format) = try openOperationFile(
      path, format: nil, writable: true, registry: registry, engine: engine)
    if format == .qcow2 {
      return try QCOW2.rebase(
        file, backing: backing, format: backingFormat, unsafe: unsafe, registry: registry, engine: engine,
        progress: progress)
    }
    guard format == .umlCOW else {
      throw .unsuitable(path: path, reason: "is \(format.rawValue) and has no backing file to change")
    }
    return try UMLCOW.rebase(
      file, backing: backing, backingFormat: backingFormat, unsafe: unsafe, registry: registry,
      engine: engine, progress: progress)
  }
}

/// Accepting the backing file's changed time.
package enum Restamp {
  /// Why the contents of the backing file are taken for unchanged.
  package enum Evidence: Equatable, Sendable {
    /// They are compared with a copy of the original.
    case original(String)
    /// Whoever asks says so.
    case word
  }

  /// What came of it.
  package enum Outcome: Equatable, Sendable {
    /// The header has the backing file's time now, in seconds since 1970.
    case stamped(from: Int64, to: Int64)
    /// It had it already.
    case current
    /// The backing file differs from the original, first at this byte; nothing was changed.
    case differs(at: UInt64)
  }

  /// Makes an image accept its backing file, whose time of change is not the one that the image was made for.
  ///
  /// Only the time in the header changes, by one write within a sector.
  package static func run(
    path: String, evidence: Evidence, registry: FileRegistry, engine: any BlockEngine = SynchronousEngine(),
    progress: Progress
  ) throws(DiskImageError) -> Outcome {
    let (file, format) = try openOperationFile(
      path, format: nil, writable: true, registry: registry, engine: engine)
    guard format == .umlCOW else {
      throw .unsuitable(path: path, reason: "is \(format.rawValue): it does not hold its backing file's time")
    }
    return try UMLCOW.restamp(
      file, evidence: evidence, registry: registry, engine: engine, progress: progress)
  }
}
