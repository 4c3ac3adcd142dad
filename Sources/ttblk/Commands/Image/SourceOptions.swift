// How a command opens the images that it reads.
import ArgumentParser
import BlockIO
import DiskImage

/// Options of commands that read images.
struct SourceOptions: ParsableArguments {
  @Flag(help: "Read images that are in use, too, without locks: what is read may be old or half-written.")
  var forceShare = false

  /// Opens an image for reading, and says what whoever reads it ought to know.
  func open(
    _ path: String, format: ImageFormat?, backing: String? = nil, snapshot: String? = nil,
    registry: FileRegistry
  ) throws -> any DiskImage {
    let image = try openImage(
      path: path,
      options: ImageOptions(
        format: format, readOnly: true, lock: !forceShare, backing: backing, snapshot: snapshot),
      registry: registry)
    for warning in image.warnings { warn(warning) }
    return image
  }
}
