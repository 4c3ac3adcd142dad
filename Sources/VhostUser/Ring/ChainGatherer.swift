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
  var readablePieces = 0
  var readableCount = 0
  var writableCount = 0
  var lastWritable: UnsafeMutableRawPointer?
}

/// Translates the buffers of one chain after the other, into storage that is allocated once.
///
/// It knows buffers, and neither layout: how descriptors follow one another is the business of the rings.
struct ChainGatherer: ~Copyable {
  let allowsIndirect: Bool
  /// Entries that an indirect table may have.
  let indirectLimit: Int
  var memory: GuestMemory
  /// nil: nobody moves the guest.
  let log: RingLog?
  private let pieces: UnsafeMutableBufferPointer<iovec>

  init(size: UInt16, features: UInt64, memory: GuestMemory, log: RingLog?) {
    self.log = log
    allowsIndirect = features & RingFeatures.indirectDescriptors != 0
    indirectLimit = max(Int(size), Limits.indirectTable)
    self.memory = memory
    pieces = .allocate(capacity: Int(size) + indirectLimit + Limits.extraPieces)
  }

  deinit { pieces.deallocate() }

  /// The chain that was gathered.
  @inline(__always)
  func chain(head: UInt16, _ gathered: Gathering) -> Chain {
    let readable = gathered.readablePieces
    return Chain(
      head: head,
      readable: UnsafeMutableBufferPointer(rebasing: pieces[..<readable]),
      writable: UnsafeMutableBufferPointer(rebasing: pieces[readable..<gathered.pieces]),
      readableCount: gathered.readableCount, writableCount: gathered.writableCount,
      lastWritable: gathered.lastWritable)
  }

  /// Adds the buffer of a descriptor, in as many pieces as it has regions. Empty buffers count for nothing.
  @inline(__always)
  func append(_ descriptor: RingDescriptor, _ gathered: inout Gathering) -> ChainFault? {
    let isWritable = descriptor.flags & RingDescriptor.write != 0
    let count = Int(descriptor.count)
    guard count > 0 else { return nil }
    if isWritable {
      gathered.writableCount += count
    } else {
      guard gathered.writableCount == 0 else { return .readableAfterWritable }
      gathered.readableCount += count
    }
    guard gathered.readableCount + gathered.writableCount <= Int(UInt32.max) else { return .tooManyBytes }
    var done = 0
    while done < count {
      let (address, wraps) = descriptor.address.addingReportingOverflow(UInt64(done))
      guard !wraps, let piece = memory.piece(at: address, count: count - done), let base = piece.baseAddress
      else {
        return .outsideMemory(address)
      }
      let start = isWritable ? gathered.readablePieces : 0
      let before = gathered.pieces - 1
      if before >= start, pieces[before].iov_base + pieces[before].iov_len == base {
        pieces[before].iov_len += piece.count
      } else {
        guard gathered.pieces < pieces.count else { return .tooManyPieces }
        pieces[gathered.pieces] = iovec(iov_base: base, iov_len: piece.count)
        gathered.pieces += 1
      }
      if !isWritable { gathered.readablePieces = gathered.pieces }
      done += piece.count
    }
    if isWritable {
      gathered.lastWritable = pieces[gathered.pieces - 1].last
      log?.note(descriptor.address, count: count)
    }
    return nil
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
      if let fault = append(descriptor, &gathered) { return fault }
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

extension iovec {
  /// Its last byte; it has one.
  fileprivate var last: UnsafeMutableRawPointer { iov_base + (iov_len - 1) }
}
