// Headers on their way to the file.
import BlockIO

extension QCOW2.Header {
  /// The fields, up to the header's length.
  func encodedFields() -> [UInt8] {
    var bytes = QCOW2.magic
    bytes.append(bigEndian: version)
    bytes.append(bigEndian: backingOffset)
    bytes.append(bigEndian: UInt32(backingPath.count))
    bytes.append(bigEndian: clusterBits)
    bytes.append(bigEndian: size)
    bytes.append(bigEndian: UInt32(0))
    bytes.append(bigEndian: l1Size)
    bytes.append(bigEndian: l1Offset)
    bytes.append(bigEndian: refcountTableOffset)
    bytes.append(bigEndian: refcountTableClusters)
    bytes.append(bigEndian: snapshotCount)
    bytes.append(bigEndian: snapshotsOffset)
    guard version > 2 else { return bytes }
    bytes.append(bigEndian: incompatible)
    bytes.append(bigEndian: compatible)
    bytes.append(bigEndian: autoclear)
    bytes.append(bigEndian: refcountOrder)
    bytes.append(bigEndian: headerLength)
    if headerLength > 104 { bytes.append(compression.rawValue) }
    return bytes + tail
  }

  /// The fields and the extensions, without the backing path.
  func encoded() -> [UInt8] {
    var bytes = encodedFields()
    for one in extensions {
      bytes.append(bigEndian: one.type)
      bytes.append(bigEndian: UInt32(one.data.count))
      bytes += one.data
      bytes.append(contentsOf: repeatElement(0, count: (8 - one.data.count % 8) % 8))
    }
    bytes.append(bigEndian: UInt64(0))
    return bytes
  }

  /// Gives the header an extension, or takes it away; the format of the backing file comes first, so that it
  /// is in the first sector.
  mutating func setExtension(_ type: UInt32, _ data: [UInt8]?) {
    extensions.removeAll { $0.type == type }
    guard let data else { return }
    let one = QCOW2.HeaderExtension(type: type, data: data)
    if type == QCOW2.ExtensionType.backingFormat {
      extensions.insert(one, at: 0)
    } else {
      extensions.append(one)
    }
  }
}

extension QCOW2 {
  /// Replaces a header, and what follows it in its cluster.
  ///
  /// A path goes where neither the old one nor the old extensions are, and the first sector, which names it,
  /// is written last: a sector is written as a whole. Only where the cluster has no room for both paths, or
  /// where unknown extensions fill more than a sector, a crash can do harm.
  /// - Returns: the header as it was written.
  static func rewrite(
    _ old: Header, as wanted: Header, of file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> Header {
    var new = wanted
    if new.encoded().count > sector { new.setExtension(ExtensionType.featureNames, nil) }
    let end = UInt64(new.encoded().count)
    guard end <= new.clusterSize else { throw .qcow2(path: file.path, .headerFull) }
    if new.backingPath.isEmpty {
      new.backingOffset = 0
    } else {
      new.backingOffset = try pathOffset(old, new, end: end, path: file.path)
    }
    let bytes = new.encoded()
    // Whatever of a path is in the first sector is written with it.
    var first = Array(bytes.prefix(sector)) + [UInt8](repeating: 0, count: max(0, sector - bytes.count))
    let path = new.backingPath
    let inFirst = min(path.count, max(0, sector - Int(new.backingOffset)))
    if !path.isEmpty, inFirst > 0 {
      let start = Int(new.backingOffset)
      first.replaceSubrange(start..<start + inFirst, with: path[..<inFirst])
    }
    do throws(BlockIOError) {
      if inFirst < path.count {
        try engine.write(file, at: new.backingOffset + UInt64(inFirst), from: path[inFirst...])
      }
      try engine.synchronize(file)
      if bytes.count > sector {
        try engine.write(file, at: UInt64(sector), from: bytes[sector...])
        try engine.synchronize(file)
      }
      try engine.write(file, at: 0, from: first[...])
      try engine.synchronize(file)
    } catch { throw .file(error) }
    return new
  }

  private static func pathOffset(
    _ old: Header, _ new: Header, end: UInt64, path: String
  ) throws(DiskImageError) -> UInt64 {
    let count = UInt64(new.backingPath.count)
    let oldPath = old.backingOffset..<old.backingOffset + UInt64(old.backingPath.count)
    let oldEnd = UInt64(old.encoded().count)
    // Behind the first sector, before or behind the old path; or else wherever it fits.
    let start = max(UInt64(sector), max(end, oldEnd))
    for offset in [start, max(start, (oldPath.upperBound + 7) & ~7)] {
      if offset + count <= new.clusterSize, !oldPath.overlaps(offset..<offset + count) { return offset }
    }
    guard end + count <= new.clusterSize else { throw .qcow2(path: path, .headerFull) }
    return end
  }

  private static let sector = 512
}
