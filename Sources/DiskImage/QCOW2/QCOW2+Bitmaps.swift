// Dirty bitmaps that QEMU keeps in a file: we only need to know where they are.
import BlockIO

extension QCOW2 {
  /// Calls `body` for each range of the file that belongs to bitmaps.
  ///
  /// ```
  /// extension  u32 bitmaps, u32 reserved, u64 directory bytes, u64 directory at
  /// entry      @0 u64 table at  @8 u32 table entries  @12 u32 flags  @16 u8 type  @17 u8 granularity
  ///            @18 u16 name length  @20 u32 extra bytes, then extra, name, padding to a multiple of 8
  /// table      u64 each: host offset (55..9); bit 0 without an offset: all ones
  /// ```
  /// - Returns: whether the directory makes sense.
  static func forEachBitmapRange(
    _ header: Header, of file: ImageFile, engine: any BlockEngine,
    _ body: (_ offset: UInt64, _ count: UInt64) throws(DiskImageError) -> Void
  ) throws(DiskImageError) -> Bool {
    guard let data = header.extensions.first(where: { $0.type == ExtensionType.bitmaps })?.data else {
      return true
    }
    guard data.count >= 24 else { return false }
    let count = data.span.bytes.u32(0)
    let directorySize = data.span.bytes.u64(8)
    let directoryOffset = data.span.bytes.u64(16)
    let fileSize = try status(file).size
    guard count > 0, count <= Limits.qcow2BitmapsMax, directorySize <= Limits.qcow2BitmapDirectoryBytesMax,
      header.isTable(directoryOffset, directorySize), directoryOffset <= fileSize,
      directorySize <= fileSize - directoryOffset
    else { return false }
    var directory = [UInt8](repeating: 0, count: Int(directorySize))
    do throws(BlockIOError) { try engine.read(file, at: directoryOffset, into: &directory) } catch {
      throw .file(error)
    }
    try body(directoryOffset, directorySize)
    var position = 0
    for _ in 0..<count {
      guard position + 24 <= directory.count else { return false }
      let entry = directory.span.bytes
      let tableOffset = entry.u64(position)
      let tableBytes = UInt64(entry.u32(position + 8)) * 8
      let variable = UInt64(entry.u16(position + 18)) + UInt64(entry.u32(position + 20))
      guard tableBytes <= fileSize, tableBytes == 0 || header.isTable(tableOffset, tableBytes) else {
        return false
      }
      if tableBytes > 0 { try body(tableOffset, tableBytes) }
      guard try forEachBitmapCluster(header, tableOffset, tableBytes, file, engine, body) else {
        return false
      }
      let next = (UInt64(position) + 24 + variable + 7) / 8 * 8
      guard next <= UInt64(directory.count) else { return false }
      position = Int(next)
    }
    return true
  }

  private static func forEachBitmapCluster(
    _ header: Header, _ offset: UInt64, _ count: UInt64, _ file: ImageFile, _ engine: any BlockEngine,
    _ body: (_ offset: UInt64, _ count: UInt64) throws(DiskImageError) -> Void
  ) throws(DiskImageError) -> Bool {
    var table = [UInt8](repeating: 0, count: 4096)
    var position = offset
    while position < offset + count {
      do throws(BlockIOError) { try engine.read(file, at: position, into: &table) } catch {
        throw .file(error)
      }
      let step = min(offset + count - position, 4096)
      for index in 0..<Int(step / 8) {
        let entry = table.span.bytes.u64(index * 8)
        let host = entry & EntryBits.offset
        guard entry & ~(EntryBits.offset | 1) == 0, host % header.clusterSize == 0 else { return false }
        if host != 0 { try body(host, header.clusterSize) }
      }
      position += step
    }
    return true
  }
}
