// The bitmap, as much of it as was looked at.
import BlockIO
import Linux

extension UMLCOW {
  /// The bitmap of a COW file: pages are read when they are first needed, and written back on demand.
  ///
  /// The memory is reserved for the whole bitmap and costs nothing where it was not touched. It is private,
  /// or a journal's: a shared mapping of the file would let the kernel write a bit before the data that it
  /// stands for.
  ///
  /// SAFETY: `memory` has a whole number of pages, at least the bitmap; every access is preceded by a check
  /// against `geometry.sectorCount`, or by one of the page number. A page is reserved before it is loaded,
  /// and nothing is changed that was not loaded.
  struct Bitmap: ~Copyable {
    private let geometry: Geometry
    private var memory: MetadataMemory
    /// A bit for each page of the bitmap.
    private var loaded: [UInt64]
    private var dirty: [UInt64]
    /// Pages that changed and are being written by somebody else, as they were then.
    private var flushing: [UInt64]
    private(set) var loadedCount = 0
    private(set) var dirtyCount = 0
    /// How many pages are dirty, or being written, or both.
    private var heldCount = 0
    private(set) var isFlushing = false
    private var copies = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    static let pageSize = 4096
    static let sectorsPerPage = UInt64(pageSize * 8)

    /// - Parameter memory: of the shape that a journal of this geometry has.
    init(_ geometry: Geometry, _ memory: consuming MetadataMemory) {
      self.geometry = geometry
      self.memory = memory
      loaded = Array(repeating: 0, count: UMLCOW.journalShape(geometry).directoryWords)
      dirty = loaded
      flushing = loaded
    }

    deinit { copies.deallocate() }

    /// Reads what is missing of the pages that hold the bits of some sectors.
    mutating func load(
      sectors: Range<UInt64>, from file: ImageFile, engine: any BlockEngine
    ) throws(BlockIOError) {
      guard let pages = pages(of: sectors) else { return }
      for page in pages where !Bitmap.test(loaded, page) {
        let start = page * Bitmap.pageSize
        let count = min(Bitmap.pageSize, Int(geometry.bitmapCount) - start)
        do throws(LinuxError) { try memory.reserve(page) } catch { throw .cannotOpen(error) }
        let target = UnsafeMutableRawBufferPointer(start: memory.pages + start, count: count)
        try engine.read(file, at: geometry.bitmapOffset + UInt64(start), into: target)
        loaded[page >> 6] |= 1 << UInt64(page & 63)
        loadedCount += 1
      }
    }

    /// How many sectors from `first` on, but not beyond `end`, are not in the file because its bitmap has a
    /// hole there; found without a look at any page of it. 0 where that cannot be told.
    func emptySpan(from first: UInt64, to end: UInt64, in file: ImageFile) -> UInt64 {
      guard first < geometry.sectorCount else { return end - first }
      let page = Int(first / Bitmap.sectorsPerPage)
      guard !Bitmap.test(loaded, page) else { return 0 }
      let place = geometry.bitmapOffset + UInt64(page * Bitmap.pageSize)
      var stop = loaded.count * 64
      if let data = file.nextData(from: place), data.lowerBound < geometry.bitmapOffset + geometry.bitmapCount
      {
        stop = Int(data.lowerBound - geometry.bitmapOffset) / Bitmap.pageSize
      }
      stop = nextLoaded(from: page, to: stop)
      guard stop > page else { return 0 }
      let last = UInt64(stop) * Bitmap.sectorsPerPage
      // Where the bits end, "not set" goes on.
      return (last >= geometry.sectorCount ? end : min(last, end)) - first
    }

    /// How many sectors from `first` on, but not beyond `end`, have the same bit as `first`.
    ///
    /// Sectors without a bit (versions 1 and 2) count as not set. The bits were loaded.
    func run(from first: UInt64, to end: UInt64) -> (isSet: Bool, count: UInt64) {
      guard first < geometry.sectorCount else { return (false, end - first) }
      let isSet = word(first >> 6) >> (first & 63) & 1 == 1
      let last = min(end, geometry.sectorCount)
      var position = first
      while position < last {
        // Ones where the bits differ from the first one.
        let differing = (isSet ? ~word(position >> 6) : word(position >> 6)) >> (position & 63)
        if differing != 0 {
          position += UInt64(differing.trailingZeroBitCount)
          break
        }
        position = (position | 63) + 1
      }
      position = min(position, last)
      // Where the bits end, "not set" goes on.
      if position == geometry.sectorCount, !isSet { position = end }
      return (isSet, position - first)
    }

    /// Whether the bits of all these sectors are set. The bits were loaded.
    func allSet(_ sectors: Range<UInt64>) -> Bool {
      let run = run(from: sectors.lowerBound, to: sectors.upperBound)
      return run.isSet && run.count == sectors.upperBound - sectors.lowerBound
    }

    /// Sets the bits of some sectors, in memory. The bits were loaded.
    mutating func set(_ sectors: Range<UInt64>) { change(sectors) { $0 | $1 } }

    /// Clears the bits of some sectors, in memory. The bits were loaded.
    mutating func clear(_ sectors: Range<UInt64>) { change(sectors) { $0 & ~$1 } }

    private mutating func change(_ sectors: Range<UInt64>, _ body: (UInt64, UInt64) -> UInt64) {
      precondition(sectors.upperBound <= geometry.sectorCount)
      var position = sectors.lowerBound
      while position < sectors.upperBound {
        let end = min(sectors.upperBound, (position | 63) + 1)
        let mask = (UInt64.max >> (64 - (end - position))) << (position & 63)
        let index = Int(position >> 6)
        let old = word(position >> 6)
        let new = body(old, mask)
        if new != old {
          memory.pages.storeBytes(of: new.littleEndian, toByteOffset: index * 8, as: UInt64.self)
          markDirty(index * 8 / Bitmap.pageSize)
        }
        position = end
      }
    }

    /// Writes the pages that changed; they stay dirty until `forgetDirty`, for the writes are not durable
    /// yet.
    func write(to file: ImageFile, engine: any BlockEngine) throws(BlockIOError) {
      try forEachDirtyRun { (range) throws(BlockIOError) in
        let source = UnsafeRawBufferPointer(start: memory.pages + range.lowerBound, count: range.count)
        try engine.write(file, at: geometry.bitmapOffset + UInt64(range.lowerBound), from: source)
      }
    }

    /// Calls `body` with the bytes of consecutive pages that changed.
    private func forEachDirtyRun<E>(_ body: (Range<Int>) throws(E) -> Void) throws(E) {
      guard dirtyCount > 0 else { return }
      var page = 0
      let end = dirty.count * 64
      while page < end {
        guard dirty[page >> 6] != 0 else {
          page = (page | 63) + 1
          continue
        }
        guard Bitmap.test(dirty, page) else {
          page += 1
          continue
        }
        let first = page
        while page < end, Bitmap.test(dirty, page) { page += 1 }
        let start = first * Bitmap.pageSize
        try body(start..<min(page * Bitmap.pageSize, Int(geometry.bitmapCount)))
      }
    }

    /// Appends copies of the pages that changed, which count as unchanged until `endFlush`; they stay in
    /// memory until then.
    mutating func beginFlush(_ pieces: inout [FlushPlan.Piece]) {
      precondition(!isFlushing)
      isFlushing = true
      let count = dirtyCount * Bitmap.pageSize
      if copies.count < count {
        copies.deallocate()
        copies = .allocate(byteCount: count, alignment: Bitmap.pageSize)
      }
      var position = 0
      forEachDirtyRun { range in
        // SAFETY: there is room for as many pages as changed.
        let copy = UnsafeMutableRawBufferPointer(rebasing: copies[position..<position + range.count])
        copy.copyMemory(
          from: UnsafeRawBufferPointer(start: memory.pages + range.lowerBound, count: range.count))
        position += range.count
        pieces.append(
          FlushPlan.Piece(
            offset: geometry.bitmapOffset + UInt64(range.lowerBound), bytes: UnsafeRawBufferPointer(copy)))
      }
      swap(&dirty, &flushing)
      dirtyCount = 0
    }

    /// The copies are durable, or the pages changed as before.
    mutating func endFlush(isDurable: Bool) {
      precondition(isFlushing)
      isFlushing = false
      dirtyCount = 0
      for index in dirty.indices {
        let held = dirty[index] | flushing[index]
        if !isDurable { dirty[index] |= flushing[index] }
        flushing[index] = 0
        dirtyCount += dirty[index].nonzeroBitCount
        if dirty[index] != held { memory.store(dirty[index], at: index) }
      }
      heldCount = dirtyCount
      if copies.count > Bitmap.copyBytesKept {
        copies.deallocate()
        copies = UnsafeMutableRawBufferPointer(start: nil, count: 0)
      }
    }

    private static let copyBytesKept = 1 << 20

    /// The pages that changed are durable.
    mutating func forgetDirty() {
      precondition(!isFlushing)
      for index in dirty.indices where dirty[index] != 0 {
        dirty[index] = 0
        memory.store(0, at: index)
      }
      dirtyCount = 0
      heldCount = 0
    }

    /// Lets go of the pages that did not change.
    mutating func releaseClean() {
      guard loadedCount > heldCount else { return }
      for index in loaded.indices {
        let held = dirty[index] | flushing[index]
        var released = loaded[index] & ~held
        while released != 0 {
          let page = index * 64 + released.trailingZeroBitCount
          memory.release(page)
          released &= released - 1
        }
        loaded[index] &= held
      }
      loadedCount = heldCount
    }

    /// The journal that the file is to name before any bit changes; nil for none.
    var unnamedJournal: JournalName? { memory.unnamed }
    var isJournalNamed: Bool { memory.isNamed }
    mutating func didNameJournal() { memory.didName() }
    mutating func giveJournalUp(_ reason: String) throws(LinuxError) { try memory.giveUp(reason) }
    mutating func endJournal(isDone: Bool) { memory.endJournal(isDone: isDone) }

    private func nextLoaded(from first: Int, to end: Int) -> Int {
      var page = first
      while page < end {
        let rest = loaded[page >> 6] >> UInt64(page & 63)
        if rest != 0 { return min(end, page + rest.trailingZeroBitCount) }
        page = (page | 63) + 1
      }
      return end
    }

    private mutating func markDirty(_ page: Int) {
      guard !Bitmap.test(dirty, page) else { return }
      dirty[page >> 6] |= 1 << UInt64(page & 63)
      dirtyCount += 1
      if !Bitmap.test(flushing, page) {
        heldCount += 1
        memory.store(dirty[page >> 6] | flushing[page >> 6], at: page >> 6)
      }
    }

    private func pages(of sectors: Range<UInt64>) -> ClosedRange<Int>? {
      let end = min(sectors.upperBound, geometry.sectorCount)
      guard sectors.lowerBound < end else { return nil }
      let first = Int(sectors.lowerBound / Bitmap.sectorsPerPage)
      return first...Int((end - 1) / Bitmap.sectorsPerPage)
    }

    private func word(_ index: UInt64) -> UInt64 {
      UInt64(littleEndian: memory.pages.load(fromByteOffset: Int(index) * 8, as: UInt64.self))
    }

    private static func test(_ bits: [UInt64], _ index: Int) -> Bool {
      bits[index >> 6] >> UInt64(index & 63) & 1 == 1
    }
  }
}
