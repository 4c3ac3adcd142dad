// From an old version of a format to the current one.
package import BlockIO
import Glibc
import Linux

/// Rewriting images of old versions.
package enum Upgrade {
  /// What an upgrade did.
  package struct Outcome: Equatable, Sendable {
    /// The version that the image had.
    package let version: String
    /// The new file; nil if nothing had to be done.
    package let output: String?
    /// The name that the old file has now; nil if it kept its name.
    package let kept: String?
  }

  /// Makes a COW file of the current version and layout, with the same contents, of one of any version.
  ///
  /// The new file appears when it is complete, compared and on the medium.
  /// - Parameters:
  ///   - output: the new file, which does not exist yet; nil replaces the old one, which keeps its contents
  ///     under its name and `.v1`, `.v2` or `.v3`.
  ///   - backing: in place of the backing file that the header names.
  package static func run(
    path: String, output: String?, backing: String? = nil, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine(), progress: Progress
  ) throws(DiskImageError) -> Outcome {
    if output != nil { try completeForCopy(path, registry: registry, engine: engine) }
    let (file, format) = try openOperationFile(
      path, format: nil, writable: output == nil, registry: registry, engine: engine)
    if format == .qcow2 {
      guard output == nil else {
        throw .unsuitable(path: path, reason: "is qcow2: it is upgraded in place, or converted to a new file")
      }
      let version = try QCOW2.readHeader(file, engine: engine).version
      guard version < 3 else { return Outcome(version: "\(version)", output: nil, kept: nil) }
      try QCOW2.upgrade(file, engine: engine)
      return Outcome(version: "\(version)", output: path, kept: nil)
    }
    guard format == .umlCOW else {
      throw .unsuitable(
        path: path, reason: "is \(format.rawValue), which has no versions: UML COW and qcow2 files have")
    }
    return try UMLCOW.upgrade(
      file, output: output, backing: backing, registry: registry, engine: engine, progress: progress)
  }

  /// Gives a file a second name, which is not taken; done before, it is done.
  static func keep(_ file: ImageFile, as name: String) throws(DiskImageError) {
    if link(file.path, name) == 0 { return }
    let error = LinuxError("link", name)
    var existing = stat()
    guard error.code == EEXIST else { throw .system(error) }
    guard stat(name, &existing) == 0, FileIdentity(existing) == file.identity else {
      throw .exists(path: name)
    }
  }
}
