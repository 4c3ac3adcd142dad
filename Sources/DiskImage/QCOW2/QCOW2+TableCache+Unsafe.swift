// Pieces of a qcow2 file's tables, as many as fit.
import BlockIO
import CLinux
import Glibc
import Linux

extension QCOW2 {
  /// What a page of a table belongs to; pages that changed are written in this order.
  enum TableKind: UInt8, CaseIterable {
    case refcountBlock, refcountTable, l2, l1
  }

  /// A cache of pages of the tables: read when they are first needed, written back on demand.
  ///
  /// Pages that changed stay until they are written; others give way to newer ones, those first that were not
  /// used since the last look.
  ///
  /// Where the memory is a journal's, its directory names the pages that changed.
  ///
  /// SAFETY: `memory` holds `capacity` pages, which are reserved before they are touched; a slot number from
  /// `load` is below it, and stays right until the next `load`; every offset into a page is checked to be
  /// within the page.
  struct TableCache: ~Copyable {
    let pageSize: Int
    private let capacity: Int
    private var memory: MetadataMemory
    private var slots: [UInt64: Int32] = [:]
    private var pages: [Page] = []
    private var hand = 0
    private var dirtyCounts = [Int](repeating: 0, count: TableKind.allCases.count)
    private var sorted: [Int32] = []
    private var vectors = IOVectorList()

    private struct Page {
      /// In the file; nil for a slot that is free.
      var offset: UInt64?
      var kind: TableKind
      var isDirty = false
      var wasUsed = true
    }

    /// - Parameter memory: of this shape.
    init(_ shape: JournalShape, _ memory: consuming MetadataMemory) {
      pageSize = shape.pageSize
      capacity = shape.pageCount
      self.memory = memory
    }

    /// The journal that the file is to name before any table changes; nil for none.
    var unnamedJournal: JournalName? { memory.unnamed }
    mutating func didNameJournal() { memory.didName() }
    mutating func giveJournalUp(_ reason: String) throws(LinuxError) { try memory.giveUp(reason) }
    mutating func endJournal(isDone: Bool) { memory.endJournal(isDone: isDone) }

    var dirtyCount: Int { dirtyCounts.reduce(0, +) }
    func dirtyCount(_ kind: TableKind) -> Int { dirtyCounts[Int(kind.rawValue)] }
    /// Whether it is time to write back.
    var isCrowded: Bool { dirtyCount >= capacity / 2 }

    /// The slot of the page around an offset in the file.
    mutating func load(
      _ offset: UInt64, _ kind: TableKind, from file: ImageFile, engine: any BlockEngine
    ) throws(DiskImageError) -> Int {
      let start = offset & ~UInt64(pageSize - 1)
      if let slot = slots[start] {
        pages[Int(slot)].wasUsed = true
        return Int(slot)
      }
      let slot = try freeSlot(path: file.path)
      let target = UnsafeMutableRawBufferPointer(start: memory.pages + slot * pageSize, count: pageSize)
      do throws(BlockIOError) { try engine.read(file, at: start, into: target) } catch { throw .file(error) }
      pages[slot] = Page(offset: start, kind: kind)
      slots[start] = Int32(slot)
      return slot
    }

    private mutating func freeSlot(path: String) throws(DiskImageError) -> Int {
      if pages.count < capacity {
        do throws(LinuxError) { try memory.reserve(pages.count) } catch { throw .system(error) }
        pages.append(Page(offset: nil, kind: .l2))
        return pages.count - 1
      }
      for _ in 0..<2 * capacity {
        let slot = hand
        hand = (hand + 1) % capacity
        if pages[slot].isDirty { continue }
        if pages[slot].wasUsed {
          pages[slot].wasUsed = false
          continue
        }
        if let offset = pages[slot].offset { slots[offset] = nil }
        pages[slot].offset = nil
        return slot
      }
      throw .system(LinuxError("cache", path, code: ENOMEM))
    }

    /// A big-endian word, at an offset in the file that lies in the slot's page.
    func word(_ slot: Int, _ offset: UInt64) -> UInt64 {
      let position = Int(offset & UInt64(pageSize - 1))
      precondition(position + 8 <= pageSize && slot < pages.count)
      return UInt64(
        bigEndian: memory.pages.loadUnaligned(fromByteOffset: slot * pageSize + position, as: UInt64.self))
    }

    mutating func setWord(_ slot: Int, _ offset: UInt64, _ value: UInt64) {
      let position = Int(offset & UInt64(pageSize - 1))
      precondition(position + 8 <= pageSize && slot < pages.count)
      memory.pages.storeBytes(of: value.bigEndian, toByteOffset: slot * pageSize + position, as: UInt64.self)
      markDirty(slot)
    }

    /// A count of references of `1 << order` bits, the `index`-th of the slot's page.
    func count(_ slot: Int, _ index: Int, order: UInt32) -> UInt64 {
      precondition(index >= 0 && index << Int(order) < pageSize * 8 && slot < pages.count)
      return readCount(UnsafeRawPointer(memory.pages + slot * pageSize), index, order: order)
    }

    mutating func setCount(_ slot: Int, _ index: Int, order: UInt32, _ value: UInt64) {
      precondition(index >= 0 && index << Int(order) < pageSize * 8 && slot < pages.count)
      storeCount(memory.pages + slot * pageSize, index, order: order, value)
      markDirty(slot)
    }

    /// Forgets what is known of a range of the file, changes too: it belongs to nobody any more.
    mutating func forget(_ range: Range<UInt64>) {
      guard !slots.isEmpty else { return }
      var offset = range.lowerBound & ~UInt64(pageSize - 1)
      while offset < range.upperBound {
        if let slot = slots.removeValue(forKey: offset) {
          markClean(Int(slot))
          pages[Int(slot)].offset = nil
          pages[Int(slot)].wasUsed = false
        }
        offset += UInt64(pageSize)
      }
    }

    /// Writes the pages of a kind that changed, in the order of the file. They count as clean from then on;
    /// if that fails, those that are left stay dirty.
    /// - Returns: where in the file the last of them ends.
    mutating func write(
      _ kind: TableKind, to file: ImageFile, engine: any BlockEngine
    ) throws(DiskImageError) -> UInt64 {
      guard dirtyCount(kind) > 0 else { return 0 }
      sorted.removeAll(keepingCapacity: true)
      for slot in pages.indices where pages[slot].isDirty && pages[slot].kind == kind {
        sorted.append(Int32(slot))
      }
      sorted.sort { (pages[Int($0)].offset ?? 0) < (pages[Int($1)].offset ?? 0) }
      var first = 0
      while first < sorted.count {
        var end = first + 1
        while end < sorted.count, start(end) == start(first) + UInt64((end - first) * pageSize) { end += 1 }
        vectors.removeAll()
        for index in first..<end {
          vectors.append(
            iovec(iov_base: memory.pages + Int(sorted[index]) * pageSize, iov_len: pageSize))
        }
        do throws(BlockIOError) {
          try engine.write(file, at: start(first), from: vectors.parts)
        } catch { throw .file(error) }
        for index in first..<end { markClean(Int(sorted[index])) }
        first = end
      }
      return start(sorted.count - 1) + UInt64(pageSize)
    }

    private func start(_ index: Int) -> UInt64 { pages[Int(sorted[index])].offset ?? 0 }

    /// What changed in a page counts before the next change does, wherever we are killed.
    private mutating func markDirty(_ slot: Int) {
      CLinux_order()
      guard !pages[slot].isDirty else { return }
      pages[slot].isDirty = true
      if let offset = pages[slot].offset { memory.store(journalWord(offset, pages[slot].kind), at: slot) }
      dirtyCounts[Int(pages[slot].kind.rawValue)] += 1
    }

    private mutating func markClean(_ slot: Int) {
      guard pages[slot].isDirty else { return }
      pages[slot].isDirty = false
      memory.store(0, at: slot)
      dirtyCounts[Int(pages[slot].kind.rawValue)] -= 1
    }
  }

  /// The `index`-th count of `1 << order` bits; those below a byte begin with the least significant bits.
  ///
  /// SAFETY: the caller has checked that it is within the memory.
  static func readCount(_ base: UnsafeRawPointer, _ index: Int, order: UInt32) -> UInt64 {
    switch order {
    case 4: return UInt64(UInt16(bigEndian: base.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)))
    case 3: return UInt64(base.load(fromByteOffset: index, as: UInt8.self))
    case 5: return UInt64(UInt32(bigEndian: base.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)))
    case 6: return UInt64(bigEndian: base.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
    default:
      let bits = index << Int(order)
      let byte = base.load(fromByteOffset: bits >> 3, as: UInt8.self)
      return UInt64(byte >> UInt8(bits & 7)) & (1 << (1 << UInt64(order)) - 1)
    }
  }

  /// The `index`-th count of a refcount block.
  static func count(in block: [UInt8], _ index: Int, order: UInt32) -> UInt64 {
    block.withUnsafeBytes { bytes in
      // SAFETY: it lies within the block.
      precondition(index >= 0 && (index + 1) << Int(order) <= bytes.count * 8)
      return bytes.baseAddress.map { readCount($0, index, order: order) } ?? 0
    }
  }

  /// The counterpart of `count(in:)`.
  static func setCount(in block: inout [UInt8], _ index: Int, order: UInt32, _ value: UInt64) {
    block.withUnsafeMutableBytes { bytes in
      // SAFETY: it lies within the block.
      precondition(index >= 0 && (index + 1) << Int(order) <= bytes.count * 8)
      if let base = bytes.baseAddress { storeCount(base, index, order: order, value) }
    }
  }

  /// The counterpart of `readCount`; the value fits.
  static func storeCount(_ base: UnsafeMutableRawPointer, _ index: Int, order: UInt32, _ value: UInt64) {
    switch order {
    case 4:
      base.storeBytes(
        of: UInt16(truncatingIfNeeded: value).bigEndian, toByteOffset: index * 2, as: UInt16.self)
    case 3: base.storeBytes(of: UInt8(truncatingIfNeeded: value), toByteOffset: index, as: UInt8.self)
    case 5:
      base.storeBytes(
        of: UInt32(truncatingIfNeeded: value).bigEndian, toByteOffset: index * 4, as: UInt32.self)
    case 6: base.storeBytes(of: value.bigEndian, toByteOffset: index * 8, as: UInt64.self)
    default:
      let bits = index << Int(order)
      let mask = UInt8(1 << (1 << UInt8(order)) - 1) << UInt8(bits & 7)
      let old = base.load(fromByteOffset: bits >> 3, as: UInt8.self)
      let new = old & ~mask | UInt8(truncatingIfNeeded: value) << UInt8(bits & 7) & mask
      base.storeBytes(of: new, toByteOffset: bits >> 3, as: UInt8.self)
    }
  }
}
