// Another length.
package import BlockIO

/// Making an image longer or shorter.
package enum Resize {
  /// The length that is asked for.
  package enum Length: Equatable, Sendable {
    case exactly(UInt64)
    case longerBy(UInt64)
    case shorterBy(UInt64)
  }

  /// What became of it, in bytes.
  package struct Outcome: Equatable, Sendable {
    package let before: UInt64
    package let after: UInt64
  }

  /// Gives a raw or qcow2 image another length; what is new reads as zeros.
  /// - Parameter shrink: whether it may become shorter, and lose what is at its end.
  package static func run(
    path: String, length: Length, shrink: Bool, format: ImageFormat? = nil, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) -> Outcome {
    let (file, format) = try openOperationFile(
      path, format: format, writable: true, registry: registry, engine: engine)
    if format == .qcow2 {
      return try resizeQCOW2(file, length, shrink: shrink, registry: registry, engine: engine)
    }
    guard format == .raw else { throw .unsuitable(path: path, reason: refusal) }
    guard !file.isBlockDevice else {
      throw .unsuitable(path: path, reason: "is a block device, which is as long as it is")
    }
    let after = try target(length, from: file.size, path: path)
    if after < file.size, !shrink {
      let data = dataBytes(of: file, from: after)
      throw .unsuitable(
        path: path,
        reason: "would lose its last \(file.size - after) bytes, \(data) of them data: say --shrink to do it")
    }
    if after != file.size {
      do throws(BlockIOError) {
        try file.setLength(after)
        try engine.synchronize(file)
      } catch { throw .file(error) }
    }
    return Outcome(before: file.size, after: after)
  }

  private static func resizeQCOW2(
    _ file: ImageFile, _ length: Length, shrink: Bool, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> Outcome {
    let disk = try QCOW2.open(
      file, options: ImageOptions(format: .qcow2), registry: registry, engine: engine,
      chain: try Chain().adding(file.identity, path: file.path))
    let before = disk.exactSize
    let after = try target(length, from: before, path: file.path)
    if after < before, !shrink {
      throw .unsuitable(
        path: file.path, reason: "would lose its last \(before - after) bytes: say --shrink to do it")
    }
    try disk.resize(to: after, shrinking: shrink)
    try disk.close()
    return Outcome(before: before, after: after)
  }

  private static var refusal: String {
    "is a UML COW file, which is as long as its backing file: merge it into a raw image and resize "
      + "that, or convert it to another format"
  }

  private static func target(
    _ length: Length, from size: UInt64, path: String
  ) throws(DiskImageError) -> UInt64 {
    var after: UInt64
    var overflow = false
    switch length {
    case .exactly(let count): after = count
    case .longerBy(let count): (after, overflow) = size.addingReportingOverflow(count)
    case .shorterBy(let count): (after, overflow) = size.subtractingReportingOverflow(count)
    }
    guard !overflow, Int64(exactly: after) != nil else {
      throw .unsuitable(path: path, reason: "has \(size) bytes: there is no such length")
    }
    guard after > 0, after % Limits.sectorSize == 0 else {
      throw .unsuitable(
        path: path, reason: "cannot have \(after) bytes: a disk has a multiple of 512, and at least one")
    }
    return after
  }

  private static func dataBytes(of file: ImageFile, from start: UInt64) -> UInt64 {
    var count: UInt64 = 0
    var position = start
    while let data = file.nextData(from: position) {
      count += min(data.upperBound, file.size) - data.lowerBound
      position = max(data.upperBound, position + 1)
    }
    return count
  }
}
