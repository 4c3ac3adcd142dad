// Whether a qcow2 file keeps its own rules.
package import BlockIO

extension QCOW2 {
  /// What a check found.
  package struct CheckReport: Equatable, Sendable {
    /// What makes the disk show wrong bytes, now or after the next write.
    package internal(set) var errors: UInt64 = 0
    /// Clusters that are counted more often than they are used: wasted space, and nothing else.
    package internal(set) var leaks: UInt64 = 0
    /// The first findings, a line each.
    package internal(set) var messages: [String] = []
    /// Clusters of the disk, and those that are here; compressed ones, and those that do not follow the one
    /// before.
    package internal(set) var totalClusters: UInt64 = 0
    package internal(set) var allocatedClusters: UInt64 = 0
    package internal(set) var compressedClusters: UInt64 = 0
    package internal(set) var fragmentedClusters: UInt64 = 0

    static let messagesMax = 100

    mutating func error(_ message: @autoclosure () -> String) {
      errors += 1
      if messages.count < Self.messagesMax { messages.append("error: " + message()) }
    }

    mutating func leak(_ message: @autoclosure () -> String) {
      leaks += 1
      if messages.count < Self.messagesMax { messages.append("leak: " + message()) }
    }
  }

  /// Compares the counts of a file with the references that its tables have; changes nothing.
  ///
  /// It finds what `qemu-img check` finds: that ends with 2 where there are errors, with 3 where there are
  /// only leaks. The backing file is not looked at.
  package static func check(
    path: String, lock: Bool = true, registry: FileRegistry, engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) -> CheckReport {
    try check(try registry.openFile(path, writable: false, lock: lock, style: .qemu), engine: engine)
  }

  /// As `check(path:)`, of a file that is open.
  static func check(_ file: ImageFile, engine: any BlockEngine) throws(DiskImageError) -> CheckReport {
    var checker = try Checker(file, engine: engine)
    try checker.run()
    return checker.report
  }

  /// A check under way.
  struct Checker {
    let header: Header
    let geometry: Geometry
    let snapshots: [Snapshot]
    let file: ImageFile
    let engine: any BlockEngine
    var report = CheckReport()
    var census: Census
    /// Whether counts are too low, or the tables of counts wrong.
    var countsAreWrong = false
    /// What the file counts where that is not the number of references; only so many of them.
    var deviations: [UInt64: UInt64] = [:]
    private var bytesLeft: UInt64
    private var nextHost: UInt64 = 0

    init(_ file: ImageFile, engine: any BlockEngine) throws(DiskImageError) {
      header = try QCOW2.readHeader(file, engine: engine)
      geometry = Geometry(header)
      snapshots = try QCOW2.readSnapshots(header, of: file, engine: engine)
      self.file = file
      self.engine = engine
      let size = try QCOW2.status(file).size
      census = Census(clusterBits: geometry.clusterBits, fileSize: size)
      // Tables that many snapshots share are read again and again; a file that is all loops must end.
      bytesLeft = max(64 << 20, min(size, 1 << 50) * 1000)
      report.totalClusters = (header.size + geometry.clusterMask) >> geometry.clusterBits
    }

    mutating func run() throws(DiskImageError) {
      try countReferences()
      try compareCounts()
      try checkCopied()
    }

    /// - Parameter withCounts: whether the tables of counts are among what is counted.
    mutating func countReferences(withCounts: Bool = true) throws(DiskImageError) {
      try add(0, geometry.clusterSize, "header")
      try countL1(header.l1Offset, UInt64(header.l1Size), isActive: true)
      for snapshot in snapshots {
        let bytes = UInt64(snapshot.l1Size) * 8
        guard bytes <= Limits.qcow2L1BytesMax, bytes == 0 || header.isTable(snapshot.l1Offset, bytes) else {
          report.error("the L1 table of snapshot '\(printable(snapshot.name))' makes no sense")
          continue
        }
        try countL1(snapshot.l1Offset, UInt64(snapshot.l1Size), isActive: false)
      }
      if let last = snapshots.last {
        try add(header.snapshotsOffset, last.place.upperBound - header.snapshotsOffset, "snapshot table")
      }
      if withCounts { try countRefcountTables() }
      if header.autoclear & Autoclear.bitmaps != 0 { try countBitmaps() }
    }

    private mutating func countBitmaps() throws(DiskImageError) {
      var ranges: [(UInt64, UInt64)] = []
      let isGood = try QCOW2.forEachBitmapRange(header, of: file, engine: engine) {
        (offset, count) throws(DiskImageError) in
        ranges.append((offset, count))
      }
      for (offset, count) in ranges { try add(offset, count, "bitmap") }
      if !isGood { report.error("the directory of bitmaps makes no sense") }
    }

    mutating func add(_ offset: UInt64, _ count: UInt64, _ what: String) throws(DiskImageError) {
      do throws(Defect) {
        if try !census.add(offset, count) {
          report.error("\(what) at \(offset), of \(count) bytes, is beyond the end of the file")
        }
      } catch { throw .qcow2(path: file.path, error) }
    }

    /// Reads a piece of a table; the rest of an incomplete last cluster is zeros.
    func read(_ offset: UInt64, into bytes: inout [UInt8]) throws(DiskImageError) {
      do throws(BlockIOError) { try engine.read(file, at: offset, into: &bytes) } catch { throw .file(error) }
    }

    mutating func spend(_ bytes: UInt64) throws(DiskImageError) {
      guard bytes <= bytesLeft else { throw .qcow2(path: file.path, .checkTooLarge) }
      bytesLeft -= bytes
    }

    // MARK: tables of clusters

    private mutating func countL1(_ offset: UInt64, _ count: UInt64, isActive: Bool) throws(DiskImageError) {
      try add(offset, count * 8, "L1 table")
      try forEachTable(offset, count) { (checker, index, entry, table) throws(DiskImageError) in
        guard let table else {
          checker.report.error("L1 entry \(index) is \(hexadecimal(entry))")
          return
        }
        try checker.add(table, checker.geometry.clusterSize, "L2 table")
        try checker.countL2(table, index << checker.geometry.l1Shift, isActive: isActive)
      }
    }

    /// Calls `body` for each L1 entry that is not 0; `table` is nil where it makes no sense.
    mutating func forEachTable(
      _ offset: UInt64, _ count: UInt64,
      _ body: (inout Checker, _ index: UInt64, _ entry: UInt64, _ table: UInt64?) throws(DiskImageError) ->
        Void
    ) throws(DiskImageError) {
      var bytes = [UInt8](repeating: 0, count: 4096)
      var first: UInt64 = 0
      while first < count {
        // A table beyond the end of the file is all zeros.
        guard offset + first * 8 < census.fileSize else { return }
        try spend(4096)
        try read(offset + first * 8, into: &bytes)
        for index in 0..<min(512, count - first) {
          let entry = bytes.span.bytes.u64(Int(index) * 8)
          guard entry != 0 else { continue }
          let table = (try? geometry.table(of: entry)) ?? nil
          try body(&self, first + index, entry, table)
        }
        first += 512
      }
    }

    private mutating func countL2(_ table: UInt64, _ guest: UInt64, isActive: Bool) throws(DiskImageError) {
      nextHost = 0
      try forEachEntry(table) { (checker, index, entry, bitmap) throws(DiskImageError) in
        let guest = guest + index << checker.geometry.clusterBits
        guard let meaning = try? checker.geometry.meaning(of: entry) else {
          checker.report.error("L2 entry \(guest >> checker.geometry.clusterBits) is \(hexadecimal(entry))")
          return
        }
        try checker.count(meaning, entry, bitmap, guest, isActive: isActive)
      }
    }

    /// Calls `body` for each L2 entry that is not 0.
    mutating func forEachEntry(
      _ table: UInt64,
      _ body: (inout Checker, _ index: UInt64, _ entry: UInt64, _ bitmap: UInt64) throws(DiskImageError) ->
        Void
    ) throws(DiskImageError) {
      guard table < census.fileSize else { return }
      try spend(geometry.clusterSize)
      var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
      try read(table, into: &bytes)
      let size = Int(geometry.entrySize)
      for index in 0..<bytes.count / size {
        let entry = bytes.span.bytes.u64(index * size)
        let bitmap = size == 16 ? bytes.span.bytes.u64(index * size + 8) : 0
        if entry != 0 || bitmap != 0 { try body(&self, UInt64(index), entry, bitmap) }
      }
    }

    private mutating func count(
      _ meaning: Cluster, _ entry: UInt64, _ bitmap: UInt64, _ guest: UInt64, isActive: Bool
    ) throws(DiskImageError) {
      let number = guest >> geometry.clusterBits
      let both = UInt32(truncatingIfNeeded: bitmap) & UInt32(truncatingIfNeeded: bitmap >> 32)
      if both != 0 { report.error("L2 entry \(number) has subclusters both present and zero") }
      switch meaning {
      case .unallocated, .zero(nil, _):
        if UInt32(truncatingIfNeeded: bitmap) != 0 {
          report.error("L2 entry \(number) has subclusters nowhere")
        }
      case .compressed(let offset, let count):
        if entry & EntryBits.copied != 0 { report.error("L2 entry \(number) is compressed and 'copied'") }
        if isActive {
          report.allocatedClusters += 1
          report.compressedClusters += 1
          report.fragmentedClusters += 1
        }
        try add(offset, count, "compressed cluster")
      case .standard(let host, _), .zero(let host?, _):
        if isActive {
          report.allocatedClusters += 1
          if nextHost != 0, nextHost != host { report.fragmentedClusters += 1 }
          nextHost = host + geometry.clusterSize
        }
        if geometry.hasDataFile {
          if host != guest { report.error("L2 entry \(number) is not where it must be in the data file") }
        } else {
          try add(host, geometry.clusterSize, "cluster")
        }
      }
    }
  }
}
