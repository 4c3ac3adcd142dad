// A request to a disk, and its answer.

/// What a front-end asks for.
package struct BlockRequest: Sendable {
  package enum Operation: UInt8, Sendable, CaseIterable { case read, write, flush, discard, writeZeroes }
  package var operation: Operation
  /// Bytes from the beginning of the disk.
  package var offset: UInt64
  /// In bytes; zero for a flush.
  package var length: UInt64
  /// WRITE_ZEROES: whether the range may be deallocated.
  package var mayUnmap: Bool
  /// Whether what it changes is durable when it completes (FUA); a lane's business.
  package var isDurable: Bool
  /// The front-end's own name for it, given back with the answer.
  package var tag: UInt64

  package init(
    operation: Operation, offset: UInt64, length: UInt64, mayUnmap: Bool = false, isDurable: Bool = false,
    tag: UInt64
  ) {
    self.operation = operation
    self.offset = offset
    self.length = length
    self.mayUnmap = mayUnmap
    self.isDurable = isDurable
    self.tag = tag
  }
}

/// How a request ended; the values are those of virtio-blk (virtio 1.2 §5.2.6).
package enum BlockStatus: UInt8, Sendable {
  case ok = 0
  case ioError = 1
  case unsupported = 2
}

/// The answer to one request.
package struct BlockCompletion: Sendable {
  package var tag: UInt64
  package var status: BlockStatus
  /// Why it failed, as far as the host said: a value of `errno`, or 0; a lane's business.
  package var code: CInt

  package init(tag: UInt64, status: BlockStatus, code: CInt = 0) {
    self.tag = tag
    self.status = status
    self.code = code
  }
}
