// One request, as the ring describes it.
package import CLinux
import Glibc

/// A chain of descriptors, translated: what the device may read, and what it may write.
///
/// The pieces lie in scratch storage of the ring and are valid until the next chain is taken from the same
/// ring; they may be trimmed in place. The memory that they, and `lastWritable`, point to stays mapped until
/// the chain is completed, whatever becomes of the guest's memory meanwhile: the `Virtqueue` sees to that.
/// Whoever completes the request later keeps only `head`, `writableCount` and `lastWritable`.
///
/// The guest can change what the pieces point to at any time: fetch a field once, then use the copy.
package struct Chain {
  /// Names the chain towards the ring: less than the ring's size, and no other chain that is held has it.
  package let head: UInt16
  /// What the device may read, in order.
  package private(set) var readable: UnsafeMutableBufferPointer<iovec>
  /// What the device may write, in order.
  package private(set) var writable: UnsafeMutableBufferPointer<iovec>
  /// Bytes in `readable`.
  package private(set) var readableCount: Int
  /// Bytes in `writable`.
  package private(set) var writableCount: Int
  /// The last byte that was writable when the chain was taken, where a status belongs; nil if none was.
  package let lastWritable: UnsafeMutableRawPointer?

  /// Copies readable bytes from `offset` on; returns how many there were, at most `bytes.count`.
  package func copyReadable(from offset: Int, to bytes: UnsafeMutableRawBufferPointer) -> Int {
    Chain.forEach(in: readable, from: offset, count: bytes.count) { part, done in
      guard let target = bytes.baseAddress, let source = part.baseAddress else { return }
      CLinux_copy(target + done, source, part.count)
    }
  }

  /// Copies bytes into the writable part from `offset` on; returns how many fitted.
  package func copyWritable(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
    Chain.forEach(in: writable, from: offset, count: bytes.count) { part, done in
      guard let source = bytes.baseAddress, let target = part.baseAddress else { return }
      CLinux_copy(target, source + done, part.count)
    }
  }

  /// Drops the first `count` readable bytes, a header that has been fetched; all if there are fewer.
  package mutating func removeReadablePrefix(_ count: Int) {
    var rest = min(count, readableCount)
    readableCount -= rest
    while rest > 0, let first = readable.first {
      if first.iov_len <= rest {
        rest -= first.iov_len
        readable = UnsafeMutableBufferPointer(rebasing: readable.dropFirst())
      } else {
        readable[0] = iovec(iov_base: first.iov_base + rest, iov_len: first.iov_len - rest)
        rest = 0
      }
    }
  }

  /// Drops the last `count` writable bytes, the status; all if there are fewer.
  package mutating func removeWritableSuffix(_ count: Int) {
    var rest = min(count, writableCount)
    writableCount -= rest
    while rest > 0, let last = writable.last {
      if last.iov_len <= rest {
        rest -= last.iov_len
        writable = UnsafeMutableBufferPointer(rebasing: writable.dropLast())
      } else {
        writable[writable.count - 1].iov_len -= rest
        rest = 0
      }
    }
  }

  private static func forEach(
    in pieces: UnsafeMutableBufferPointer<iovec>, from offset: Int, count: Int,
    _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Int {
    var skip = offset
    var done = 0
    for piece in pieces where done < count {
      if skip >= piece.iov_len {
        skip -= piece.iov_len
        continue
      }
      let part = min(piece.iov_len - skip, count - done)
      body(UnsafeMutableRawBufferPointer(start: piece.iov_base + skip, count: part), done)
      skip = 0
      done += part
    }
    return done
  }
}

/// What a look at a ring found.
package enum RingStep {
  /// A request, to be completed exactly once.
  case chain(Chain)
  /// A chain that was refused and has been put back already, not yet published.
  case refused(ChainFault, head: UInt16)
  /// Nothing.
  case empty
  /// The ring contradicts itself: it serves nothing any more.
  case broken(RingFault)
}

/// Why a chain was returned unread; the ring goes on.
package enum ChainFault: Equatable, Sendable, CustomStringConvertible {
  case longerThanRing
  case nextOutsideTable(UInt16)
  case outsideMemory(UInt64)
  case readableAfterWritable
  case tooManyBytes
  case tooManyPieces
  case indirectNotNegotiated
  case nestedIndirect
  case indirectWithNext
  case indirectLength(UInt32)
  case headInUse(UInt16)

  package var description: String {
    switch self {
    case .longerThanRing: "chain loops or is longer than its table"
    case .nextOutsideTable(let next): "descriptor \(next) is outside its table"
    case .outsideMemory(let address): "buffer at \(hex(address)) is not in guest memory"
    case .readableAfterWritable: "readable descriptor after a writable one"
    case .tooManyBytes: "chain of 4 GiB or more"
    case .tooManyPieces: "chain in too many pieces"
    case .indirectNotNegotiated: "indirect descriptor without the feature"
    case .nestedIndirect: "indirect descriptor in an indirect table"
    case .indirectWithNext: "indirect descriptor with a successor"
    case .indirectLength(let count): "indirect table of \(count) bytes"
    case .headInUse(let head): "head \(head) is already being served"
    }
  }
}

/// Why a ring can no longer be trusted.
package enum RingFault: Equatable, Sendable, CustomStringConvertible {
  case availableJump(UInt16)
  case headOutsideTable(UInt16)
  case unavailableInChain(UInt16)
  case endlessChain

  package var description: String {
    switch self {
    case .availableJump(let count): "available index is \(count) ahead, more than the ring holds"
    case .headOutsideTable(let head): "head \(head) is outside the descriptor table"
    case .unavailableInChain(let slot): "a chain goes on in descriptor \(slot), which is not available"
    case .endlessChain: "a chain has no end"
    }
  }
}
