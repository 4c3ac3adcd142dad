// Walking a chain of descriptors.
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
}

/// What has been gathered of a chain.
private struct Gathering {
  var pieces = 0
  var readablePieces = 0
  var readableCount = 0
  var writableCount = 0
  var lastWritable: UInt64?
}

extension SplitQueue {
  /// Follows the chain from `head`; returns what is wrong with it, or nil and the chain.
  ///
  /// Terminates: every table is walked for at most as many steps as it has entries, and there are two tables.
  mutating func gather(_ head: UInt16, into chain: inout Chain?) -> ChainFault? {
    var gathered = Gathering()
    var index = head
    var steps = 0
    while true {
      steps += 1
      guard steps <= Int(size) else { return .longerThanRing }
      let descriptor = RingDescriptor(at: descriptors + RingDescriptor.byteCount * Int(index))
      if descriptor.flags & RingDescriptor.indirect != 0 {
        if let fault = gatherTable(descriptor, &gathered) { return fault }
        break
      }
      if let fault = append(descriptor, &gathered) { return fault }
      guard descriptor.flags & RingDescriptor.next != 0 else { break }
      index = descriptor.next
      guard index < size else { return .nextOutsideTable(index) }
    }
    let readable = gathered.readablePieces
    chain = Chain(
      head: head,
      readable: UnsafeMutableBufferPointer(rebasing: pieces[..<readable]),
      writable: UnsafeMutableBufferPointer(rebasing: pieces[readable..<gathered.pieces]),
      readableCount: gathered.readableCount, writableCount: gathered.writableCount,
      lastWritableAddress: gathered.lastWritable)
    return nil
  }

  /// Follows the table that a descriptor refers to; direct descriptors may have come before it (virtio 1.2
  /// §2.7.5.3).
  private mutating func gatherTable(_ reference: RingDescriptor, _ gathered: inout Gathering) -> ChainFault? {
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
      let descriptor: RingDescriptor
      if let table {
        descriptor = RingDescriptor(at: table + RingDescriptor.byteCount * index)
      } else {
        let offset = UInt64(RingDescriptor.byteCount * index)
        guard let copy = copyDescriptor(at: reference.address, offset) else {
          return .outsideMemory(reference.address)
        }
        descriptor = copy
      }
      if descriptor.flags & RingDescriptor.indirect != 0 { return .nestedIndirect }
      if let fault = append(descriptor, &gathered) { return fault }
      guard descriptor.flags & RingDescriptor.next != 0 else { return nil }
      index = Int(descriptor.next)
      guard index < count else { return .nextOutsideTable(descriptor.next) }
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

  /// Adds the buffer of a descriptor, in as many pieces as it has regions. Empty buffers count for nothing.
  @inline(__always)
  private mutating func append(_ descriptor: RingDescriptor, _ gathered: inout Gathering) -> ChainFault? {
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
      if gathered.pieces > start,
        pieces[gathered.pieces - 1].iov_base + pieces[gathered.pieces - 1].iov_len == base
      {
        pieces[gathered.pieces - 1].iov_len += piece.count
      } else {
        guard gathered.pieces < pieces.count else { return .tooManyPieces }
        pieces[gathered.pieces] = iovec(iov_base: base, iov_len: piece.count)
        gathered.pieces += 1
      }
      if !isWritable { gathered.readablePieces = gathered.pieces }
      done += piece.count
    }
    if isWritable { gathered.lastWritable = descriptor.address + UInt64(count - 1) }
    return nil
  }
}
