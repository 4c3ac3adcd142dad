// Internal snapshots.
import BlockIO

extension QCOW2 {
  /// One entry of the snapshot table: an L1 table of its own, whose clusters are counted.
  package struct Snapshot: Equatable, Sendable {
    /// Unique, a number as text as a rule.
    package let identifier: String
    /// What somebody called it.
    package let name: String
    /// Length of the disk at that time.
    package let size: UInt64
    /// Seconds since 1970.
    package let taken: UInt32
    /// Bytes of a machine's state, behind the end of the disk.
    package let stateSize: UInt64
    let l1Offset: UInt64
    let l1Size: UInt32
    let extraCount: UInt32
    /// Where the entry is in the file.
    let place: Range<UInt64>
  }

  /// Reads the snapshot table.
  ///
  /// ```
  /// @0  u64 L1 table at   @8  u32 L1 entries   @12 u16 id length   @14 u16 name length
  /// @16 u32 seconds       @20 u32 nanoseconds  @24 u64 clock of the machine
  /// @32 u32 state size    @36 u32 extra bytes  @40 extra: u64 state size, u64 disk size, u64 instructions
  /// then the id, the name, padding to a multiple of 8
  /// ```
  static func readSnapshots(
    _ header: Header, of file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> [Snapshot] {
    var result: [Snapshot] = []
    var position = header.snapshotsOffset
    let end = try status(file).size
    for _ in 0..<header.snapshotCount {
      let fixed = try readBytes(file, at: position, count: 40, end: end, header, engine)
      let extraCount = UInt64(fixed.span.bytes.u32(36))
      let idCount = UInt64(fixed.span.bytes.u16(12))
      let nameCount = UInt64(fixed.span.bytes.u16(14))
      guard extraCount <= Limits.qcow2SnapshotExtraBytesMax else { throw tableDefect(header, file) }
      let rest = Int(extraCount + idCount + nameCount)
      let variable = try readBytes(file, at: position + 40, count: rest, end: end, header, engine)
      let bytes = fixed.span.bytes
      let extra = variable.span.bytes
      let text = variable[Int(extraCount)...]
      let next = position + (40 + UInt64(rest) + 7) / 8 * 8
      result.append(
        Snapshot(
          identifier: String(decoding: text.prefix(Int(idCount)), as: UTF8.self),
          name: String(decoding: text.dropFirst(Int(idCount)), as: UTF8.self),
          size: extraCount >= 16 ? extra.u64(8) : header.size, taken: bytes.u32(16),
          stateSize: extraCount >= 8 ? extra.u64(0) : UInt64(bytes.u32(32)), l1Offset: bytes.u64(0),
          l1Size: bytes.u32(8), extraCount: UInt32(extraCount), place: position..<next))
      position = next
      guard position - header.snapshotsOffset <= Limits.qcow2SnapshotBytesMax else {
        throw tableDefect(header, file)
      }
    }
    return result
  }

  /// The snapshot with an id, or else the only one with a name.
  static func find(_ wanted: String, in snapshots: [Snapshot], path: String) throws(DiskImageError)
    -> Snapshot
  {
    if let found = snapshots.first(where: { $0.identifier == wanted }) { return found }
    let named = snapshots.filter { $0.name == wanted }
    guard let found = named.first else { throw .qcow2(path: path, .snapshotUnknown(wanted)) }
    guard named.count == 1 else { throw .qcow2(path: path, .snapshotAmbiguous(wanted)) }
    return found
  }

  private static func tableDefect(_ header: Header, _ file: ImageFile) -> DiskImageError {
    .qcow2(path: file.path, .snapshotTable(offset: header.snapshotsOffset, count: header.snapshotCount))
  }

  private static func readBytes(
    _ file: ImageFile, at offset: UInt64, count: Int, end: UInt64, _ header: Header, _ engine: any BlockEngine
  ) throws(DiskImageError) -> [UInt8] {
    guard offset <= end, UInt64(count) <= end - offset else { throw tableDefect(header, file) }
    var bytes = [UInt8](repeating: 0, count: count)
    do throws(BlockIOError) { try engine.read(file, at: offset, into: &bytes) } catch { throw .file(error) }
    return bytes
  }

  static func status(_ file: ImageFile) throws(DiskImageError) -> FileStatus {
    do throws(BlockIOError) { return try file.status() } catch { throw .file(error) }
  }
}
