// From descriptors to pieces of memory.
import CLinux
import Glibc

/// A descriptor, copied out of the guest's memory.
struct RingDescriptor {
  static let byteCount = 16
  static let next: UInt16 = 1
  static let write: UInt16 = 2
  static let indirect: UInt16 = 4

  var address: UInt64
  var count: UInt32
  var flags: UInt16
  var next: UInt16

  /// Reads each of the two words once. SAFETY: `pointer` is 8-aligned and valid for 16 bytes.
  @inline(__always)
  init(at pointer: UnsafeRawPointer) {
    let second = UInt64(littleEndian: CLinux_load64(pointer + 8))
    address = UInt64(littleEndian: CLinux_load64(pointer))
    count = UInt32(truncatingIfNeeded: second)
    flags = UInt16(truncatingIfNeeded: second >> 32)
    next = UInt16(truncatingIfNeeded: second >> 48)
  }

  init(address: UInt64, count: UInt32, flags: UInt16) {
    self.address = address
    self.count = count
    self.flags = flags
    next = 0
  }

  /// Where the flags are in a packed ring, which has the chain's identifier before them and needs no `next`.
  static let packedFlagsOffset = 14

  /// Reads a descriptor of a packed ring, each word once. SAFETY: as above.
  @inline(__always)
  static func packed(at pointer: UnsafeRawPointer) -> (RingDescriptor, identifier: UInt16) {
    var descriptor = RingDescriptor(at: pointer)
    let identifier = descriptor.flags
    descriptor.flags = descriptor.next
    return (descriptor, identifier)
  }
}

/// What has been gathered of a chain.
struct Gathering {
  var pieces = 0
  /// Pieces before the first that is writable; negative as long as there is none.
  var readablePieces = -1
  var readableCount = 0
  var writableCount = 0
  /// Where the last piece ends, if one that is its neighbour may join it.
  var end: UnsafeMutableRawPointer?
}

/// What it takes to translate a buffer, in one value without owners, so that it is loaded once a chain.
///
/// SAFETY: valid as long as the gatherer that it comes from, and until that gets another memory.
struct Translator {
  fileprivate var regions: UnsafeMutableBufferPointer<GuestMemory.Entry>
  fileprivate let pieces: UnsafeMutablePointer<iovec>
  fileprivate let pieceLimit: Int
  private let log: Unmanaged<RingLog>?

  fileprivate init(memory: GuestMemory, pieceLimit: Int, log: RingLog?) {
    regions = memory.entries
    self.pieceLimit = pieceLimit
    pieces = .allocate(capacity: pieceLimit)
    self.log = log.map(Unmanaged.passUnretained)
  }

  /// Adds the buffer of a descriptor, in as many pieces as it has regions. Empty buffers count for nothing.
  ///
  /// No sum can overflow: there are fewer than 2^17 descriptors, of less than 2^32 bytes.
  @inline(__always)
  func append(_ descriptor: RingDescriptor, _ gathered: inout Gathering) -> ChainFault? {
    let count = UInt64(descriptor.count)
    if count == 0 { return nil }
    if descriptor.flags & RingDescriptor.write != 0 {
      if gathered.readablePieces < 0 {
        gathered.readablePieces = gathered.pieces
        gathered.end = nil
      }
      gathered.writableCount &+= Int(truncatingIfNeeded: count)
      if let log {
        log._withUnsafeGuaranteedRef { $0.note(descriptor.address, count: Int(truncatingIfNeeded: count)) }
      }
    } else {
      guard gathered.readablePieces < 0 else { return .readableAfterWritable }
      gathered.readableCount &+= Int(truncatingIfNeeded: count)
    }
    for index in 0..<regions.count {
      let offset = descriptor.address &- regions[index].guest
      let size = regions[index].size
      if offset < size {
        guard count <= size &- offset else { return appendPieces(descriptor, &gathered) }
        return add(
          regions[index].host + Int(truncatingIfNeeded: offset), Int(truncatingIfNeeded: count), &gathered)
      }
    }
    return .outsideMemory(descriptor.address)
  }

  /// A buffer that lies in several regions.
  @inline(never)
  private func appendPieces(_ descriptor: RingDescriptor, _ gathered: inout Gathering) -> ChainFault? {
    let count = Int(descriptor.count)
    var done = 0
    while done < count {
      let (address, wraps) = descriptor.address.addingReportingOverflow(UInt64(done))
      guard !wraps, let (base, reach) = piece(at: address, count: count - done)
      else { return .outsideMemory(address) }
      if let fault = add(base, reach, &gathered) { return fault }
      done += reach
    }
    return nil
  }

  private func piece(at address: UInt64, count: Int) -> (UnsafeMutableRawPointer, Int)? {
    for region in regions where address &- region.guest < region.size {
      let offset = address &- region.guest
      return (region.host + Int(offset), Int(min(region.size - offset, UInt64(count))))
    }
    return nil
  }

  @inline(__always)
  private func add(
    _ base: UnsafeMutableRawPointer, _ count: Int, _ gathered: inout Gathering
  ) -> ChainFault? {
    if gathered.end == base {
      pieces[gathered.pieces &- 1].iov_len &+= count
    } else {
      guard gathered.pieces < pieceLimit else { return .tooManyPieces }
      (pieces + gathered.pieces).initialize(to: iovec(iov_base: base, iov_len: count))
      gathered.pieces &+= 1
    }
    gathered.end = base + count
    return nil
  }
}

/// Translates the buffers of one chain after the other, into storage that is allocated once.
///
/// It knows buffers, and neither layout: how descriptors follow one another is the business of the rings.
struct ChainGatherer: ~Copyable {
  let allowsIndirect: Bool
  /// Entries that an indirect table may have.
  let indirectLimit: Int
  var memory: GuestMemory { didSet { translator.regions = memory.entries } }
  /// nil: nobody moves the guest.
  let log: RingLog?
  private(set) var translator: Translator

  init(size: UInt16, features: UInt64, memory: GuestMemory, log: RingLog?) {
    self.log = log
    allowsIndirect = features & RingFeatures.indirectDescriptors != 0
    indirectLimit = max(Int(size), Limits.indirectTable)
    self.memory = memory
    translator = Translator(
      memory: memory, pieceLimit: Int(size) + indirectLimit + Limits.extraPieces, log: log)
  }

  deinit { translator.pieces.deallocate() }

  /// What is wrong with the whole of a chain.
  @inline(__always)
  func fault(_ gathered: Gathering) -> ChainFault? {
    gathered.readableCount &+ gathered.writableCount > Int(UInt32.max) ? .tooManyBytes : nil
  }

  /// The chain that was gathered.
  @inline(__always)
  func chain(head: UInt16, _ gathered: Gathering) -> Chain {
    let readable = gathered.readablePieces < 0 ? gathered.pieces : gathered.readablePieces
    return Chain(
      head: head, readable: UnsafeMutableBufferPointer(start: translator.pieces, count: readable),
      writable: UnsafeMutableBufferPointer(
        start: translator.pieces + readable, count: gathered.pieces &- readable),
      readableCount: gathered.readableCount, writableCount: gathered.writableCount,
      lastWritable: gathered.writableCount == 0 ? nil : gathered.end.map { $0 - 1 })
  }

  /// Adds the buffers of the table that a descriptor refers to; direct descriptors may have come before it
  /// (virtio 1.2 §2.7.5.3, §2.8.7).
  /// - Parameter isLinear: entries follow each other as they lie, as in packed rings; otherwise they say who
  ///   is next.
  func appendTable(
    _ reference: RingDescriptor, isLinear: Bool, _ gathered: inout Gathering
  ) -> ChainFault? {
    guard allowsIndirect else { return .indirectNotNegotiated }
    guard reference.flags & RingDescriptor.next == 0 else { return .indirectWithNext }
    let bytes = reference.count
    let count = Int(bytes) / RingDescriptor.byteCount
    guard bytes % UInt32(RingDescriptor.byteCount) == 0, count > 0, count <= indirectLimit else {
      return .indirectLength(bytes)
    }
    // Whole and aligned, as drivers make it; otherwise each entry is copied on its own.
    var table: UnsafeMutableRawPointer?
    if let piece = memory.piece(at: reference.address, count: Int(bytes)), piece.count == Int(bytes),
      let base = piece.baseAddress, Int(bitPattern: base) & 7 == 0
    {
      table = base
    }
    var index = 0
    for _ in 0..<count {
      var descriptor: RingDescriptor
      if let table {
        descriptor = RingDescriptor(at: table + RingDescriptor.byteCount * index)
      } else {
        let offset = UInt64(RingDescriptor.byteCount * index)
        guard let copy = copyDescriptor(at: reference.address, offset) else {
          return .outsideMemory(reference.address)
        }
        descriptor = copy
      }
      if isLinear { descriptor.flags = descriptor.next }
      if descriptor.flags & RingDescriptor.indirect != 0 { return .nestedIndirect }
      if let fault = translator.append(descriptor, &gathered) { return fault }
      if isLinear {
        index += 1
        if index == count { return nil }
      } else {
        guard descriptor.flags & RingDescriptor.next != 0 else { return nil }
        index = Int(descriptor.next)
        guard index < count else { return .nextOutsideTable(descriptor.next) }
      }
    }
    return .longerThanRing
  }

  private func copyDescriptor(at table: UInt64, _ offset: UInt64) -> RingDescriptor? {
    let (address, wraps) = table.addingReportingOverflow(offset)
    guard !wraps else { return nil }
    var words: (UInt64, UInt64) = (0, 0)
    return withUnsafeMutableBytes(of: &words) { bytes -> RingDescriptor? in
      guard memory.read(at: address, into: bytes), let base = bytes.baseAddress else { return nil }
      return RingDescriptor(at: base)
    }
  }
}
