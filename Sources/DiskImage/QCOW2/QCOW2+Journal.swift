// Tables that a killed server had only in memory.
import BlockIO
import Linux

extension QCOW2 {
  /// The journal of a qcow2 file: the cache of its tables, of which those pages count that changed.
  ///
  /// A word of the directory is 0, or where in the file the page belongs, with its kind in bits 1 and 2, and
  /// bit 0 set.
  static func journalShape(_ header: Header) -> JournalShape {
    let pageSize = min(4096, Int(header.clusterSize))
    let count = Limits.qcow2CacheBytes / pageSize
    return JournalShape(
      kind: .qcow2, pageSize: pageSize, pageCount: count, directoryWords: count,
      numbers: [UInt64(header.clusterBits), UInt64(header.refcountOrder), UInt64(header.version)])
  }

  static func journalWord(_ offset: UInt64, _ kind: TableKind) -> UInt64 {
    offset | UInt64(kind.rawValue) << 1 | 1
  }

  /// A page of a table that belongs into the file.
  private struct LeftPage {
    let offset: UInt64
    let kind: TableKind
    let bytes: [UInt8]
  }

  /// Brings the tables that a journal has into the file, in the order in which a disk writes them.
  ///
  /// What the tables in memory dropped and had not freed is lost: clusters leak at most.
  /// - Returns: how many pages were written.
  static func replay(
    _ journal: borrowing LeftJournal, on file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> Result<Int, JournalDefect> {
    let header = try readHeader(file, engine: engine)
    let size = try status(file).size
    var pages: [LeftPage] = []
    for (index, word) in try journal.directory().enumerated() where word != 0 {
      guard let kind = TableKind(rawValue: UInt8(word >> 1 & 3)), word & 1 == 1 else {
        return .failure(JournalDefect("its directory makes no sense"))
      }
      pages.append(LeftPage(offset: word & ~511, kind: kind, bytes: try journal.page(index)))
      guard word & 0x1f8 == 0 else { return .failure(JournalDefect("its directory makes no sense")) }
    }
    pages.sort { $0.offset < $1.offset }
    var replay = Replay(header, size: size, pageSize: UInt64(journal.shape.pageSize))
    for page in pages {
      do throws(JournalDefect) { try replay.examine(page.offset, page.kind, page.bytes) } catch {
        return .failure(error)
      }
    }
    let neededEnd = replay.neededEnd
    func write(_ kind: TableKind) throws(BlockIOError) {
      for page in pages where page.kind == kind {
        try engine.write(file, at: page.offset, from: page.bytes[...])
      }
    }
    do throws(BlockIOError) {
      try write(.refcountBlock)
      // Counts, and data, before what refers to them.
      try engine.synchronize(file)
      try write(.refcountTable)
      if try file.status().size < neededEnd { try engine.write(file, at: neededEnd - 1, from: [0]) }
      try engine.synchronize(file)
      try write(.l2)
      try engine.synchronize(file)
      try write(.l1)
      try engine.synchronize(file)
    } catch { throw .file(error) }
    return .success(pages.count)
  }

  /// Looks at every page before the first one is written.
  private struct Replay {
    private let geometry: Geometry
    private let header: Header
    private let pageSize: UInt64
    /// Nothing that a table refers to ends behind this: clusters that were taken and not written yet have a
    /// page of the journal each.
    private let limit: UInt64
    private let counts: Range<UInt64>
    private let l1: Range<UInt64>
    private var end: UInt64 = 0
    /// How long the file must be.
    private(set) var neededEnd: UInt64 = 0

    init(_ header: Header, size: UInt64, pageSize: UInt64) {
      self.header = header
      self.pageSize = pageSize
      geometry = Geometry(header)
      let slack = (UInt64(Limits.qcow2CacheBytes) / pageSize + 1) * header.clusterSize
      limit = min(Limits.qcow2HostOffsetMax, min(size, Limits.qcow2HostOffsetMax) + slack)
      let table = header.refcountTableOffset
      counts = table..<table + UInt64(header.refcountTableClusters) * header.clusterSize
      l1 = header.l1Offset..<header.l1Offset + UInt64(header.l1Size) * 8
    }

    mutating func examine(_ offset: UInt64, _ kind: TableKind, _ bytes: [UInt8]) throws(JournalDefect) {
      guard offset % pageSize == 0, offset >= end, offset < limit else {
        throw JournalDefect("it has a page for offset \(offset), which makes no sense")
      }
      end = offset + pageSize
      let isRight: Bool
      switch kind {
      case .l1: isRight = l1.contains(offset)
      case .refcountTable: isRight = counts.contains(offset)
      case .l2, .refcountBlock:
        let page = offset..<offset + pageSize
        isRight = offset >= header.clusterSize && !page.overlaps(l1) && !page.overlaps(counts)
      }
      guard isRight else {
        throw JournalDefect("it has a page for offset \(offset), where it does not belong")
      }
      guard kind != .refcountBlock else { return }
      let raw = bytes.span.bytes
      for position in stride(from: 0, to: bytes.count, by: 8) {
        try examine(raw.u64(position), kind, at: offset + UInt64(position))
      }
    }

    private mutating func examine(_ entry: UInt64, _ kind: TableKind, at place: UInt64) throws(JournalDefect)
    {
      guard entry != 0 else { return }
      let range: Range<UInt64>?
      do throws(EntryDefect) {
        switch kind {
        case .refcountBlock: range = nil
        case .refcountTable:
          guard entry & geometry.clusterMask == 0 else { throw EntryDefect() }
          range = cluster(entry)
        case .l1:
          // What follows the last entry may be anything.
          guard place < l1.upperBound else { return }
          range = try geometry.table(of: entry).map { cluster($0) }
        case .l2:
          switch try geometry.meaning(of: entry) {
          case .unallocated, .zero(nil, _): range = nil
          case .zero(let host?, _), .standard(let host, _): range = cluster(host)
          case .compressed(let offset, let count): range = offset..<offset + count
          }
        }
      } catch { throw JournalDefect("its entry for offset \(place) makes no sense: \(entry)") }
      guard let range else { return }
      guard range.lowerBound >= geometry.clusterSize, range.upperBound <= limit else {
        throw JournalDefect("its entry for offset \(place) refers to where nothing is: \(entry)")
      }
      // The last sectors of a compressed cluster need not be there.
      if kind != .l2 || entry & EntryBits.compressed == 0 { neededEnd = max(neededEnd, range.upperBound) }
    }

    private func cluster(_ offset: UInt64) -> Range<UInt64> {
      offset..<min(offset, .max - geometry.clusterSize) + geometry.clusterSize
    }
  }
}

extension QCOW2.Disk {
  /// Writes a header, which also names the journal, if there is one and the header has room.
  func rewriteNaming(_ wanted: QCOW2.Header) throws(DiskImageError) {
    guard let name = tables.unnamedJournal else {
      header = try QCOW2.rewrite(header, as: wanted, of: metadata, engine: engine)
      return
    }
    var naming = wanted
    naming.setJournal(name)
    do throws(DiskImageError) {
      header = try QCOW2.rewrite(header, as: naming, of: metadata, engine: engine)
      tables.didNameJournal()
    } catch {
      guard case .qcow2(_, .headerFull) = error else { throw error }
      do throws(LinuxError) { try tables.giveJournalUp("the header has no room for its name") } catch {
        throw .system(error)
      }
      if wanted != header {
        header = try QCOW2.rewrite(header, as: wanted, of: metadata, engine: engine)
      }
    }
  }

  /// At the end, when everything is durable.
  func endJournal() {
    if isPrepared, header.journal != nil {
      var changed = header
      changed.setJournal(nil)
      // A name that stays means nothing without the journal.
      if let new = try? QCOW2.rewrite(header, as: changed, of: metadata, engine: engine) { header = new }
    }
    tables.endJournal(isDone: true)
  }
}
