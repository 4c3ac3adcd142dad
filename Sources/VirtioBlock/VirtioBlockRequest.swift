// What a chain asks for.
package import BlockDevice
import Glibc
package import VhostUser

/// What the first 16 readable bytes of a chain say (virtio 1.2 §5.2.6), little-endian.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | type |
/// | 4 | 4 | reserved |
/// | 8 | 8 | sector, in units of 512 bytes |
struct VirtioBlockHeader {
  static let byteCount = 16

  enum Kind: UInt32 {
    case read = 0
    case write = 1
    case flush = 4
    case identify = 8
    case discard = 11
    case writeZeroes = 13
  }

  /// nil for a type that we do not know.
  let kind: Kind?
  let sector: UInt64

  /// nil when the chain has no whole header.
  init?(_ chain: Chain) {
    var words: (UInt32, UInt32, UInt64) = (0, 0, 0)
    let count = withUnsafeMutableBytes(of: &words) { chain.copyReadable(from: 0, to: $0) }
    guard count == Self.byteCount else { return nil }
    kind = Kind(rawValue: UInt32(littleEndian: words.0))
    sector = UInt64(littleEndian: words.2)
  }
}

/// Makes requests of chains; keeps its storage.
package struct VirtioBlockParser {
  /// What a chain turned out to be.
  package enum Outcome: Equatable {
    /// No whole header, or no byte for a status: to be returned unread.
    case malformed
    /// Nothing that the disk needs to see.
    case answer(BlockStatus)
    /// The driver wants to know the disk's name; there are no requests.
    case identify
    /// `requests` has one request or more, which share the chain's status.
    case requests
  }

  /// Of the chain that was parsed last; their tags are its head.
  package private(set) var requests: [BlockRequest] = []

  package init() {}

  /// Takes header and status off the chain: what is left is data.
  ///
  /// All ranges of a DISCARD or WRITE_ZEROES are looked at before the first becomes a request.
  package mutating func parse(_ chain: inout Chain) -> Outcome {
    requests.removeAll(keepingCapacity: true)
    guard let header = VirtioBlockHeader(chain), chain.lastWritable != nil else { return .malformed }
    chain.removeReadablePrefix(VirtioBlockHeader.byteCount)
    chain.removeWritableSuffix(1)
    switch header.kind {
    case .read: return transfer(.read, header.sector, chain.writableCount, chain.head)
    case .write: return transfer(.write, header.sector, chain.readableCount, chain.head)
    case .flush:
      requests.append(BlockRequest(operation: .flush, offset: 0, length: 0, tag: UInt64(chain.head)))
      return .requests
    case .discard: return ranges(.discard, knownFlags: 0, chain)
    case .writeZeroes: return ranges(.writeZeroes, knownFlags: 1, chain)
    case .identify: return .identify
    case nil: return .answer(.unsupported)
    }
  }

  private mutating func transfer(
    _ operation: BlockRequest.Operation, _ sector: UInt64, _ count: Int, _ head: UInt16
  ) -> Outcome {
    let (offset, overflow) = sector.multipliedReportingOverflow(by: Limits.sectorBytes)
    guard !overflow, count % Int(Limits.sectorBytes) == 0 else { return .answer(.ioError) }
    requests.append(
      BlockRequest(operation: operation, offset: offset, length: UInt64(count), tag: UInt64(head)))
    return .requests
  }

  /// The data of DISCARD and WRITE_ZEROES: ranges of 16 bytes each.
  ///
  /// | offset | size | field |
  /// |---|---|---|
  /// | 0 | 8 | sector |
  /// | 8 | 4 | number of sectors |
  /// | 12 | 4 | flags; bit 0: unmap |
  private mutating func ranges(
    _ operation: BlockRequest.Operation, knownFlags: UInt32, _ chain: Chain
  ) -> Outcome {
    let rangeBytes = 16
    let count = chain.readableCount / rangeBytes
    guard chain.readableCount % rangeBytes == 0, count > 0 else { return .answer(.ioError) }
    guard count <= Limits.rangesMax else { return .answer(.unsupported) }
    for index in 0..<count {
      var words: (UInt64, UInt32, UInt32) = (0, 0, 0)
      let copied = withUnsafeMutableBytes(of: &words) {
        chain.copyReadable(from: index * rangeBytes, to: $0)
      }
      guard copied == rangeBytes else { return .answer(.ioError) }
      let (sectors, flags) = (UInt32(littleEndian: words.1), UInt32(littleEndian: words.2))
      guard flags & ~knownFlags == 0 else { return .answer(.unsupported) }
      let (offset, overflow) = UInt64(littleEndian: words.0).multipliedReportingOverflow(
        by: Limits.sectorBytes)
      guard !overflow, sectors <= Limits.rangeSectorsMax else { return .answer(.ioError) }
      requests.append(
        BlockRequest(
          operation: operation, offset: offset, length: UInt64(sectors) * Limits.sectorBytes,
          mayUnmap: flags & 1 != 0, tag: UInt64(chain.head)))
    }
    return .requests
  }
}

/// The chains of one ring that wait for their answers, by head.
///
/// SAFETY: a status byte lies in memory that the ring keeps mapped until its chain is completed.
package struct OpenChains {
  private struct Slot {
    var status: UnsafeMutableRawPointer?
    var written: UInt32 = 0
    var requestsLeft: UInt32 = 0
    var worst = BlockStatus.ok
  }

  private var slots: [Slot] = []

  package init() {}

  /// Remembers a parsed chain until so many answers have come.
  package mutating func open(_ chain: Chain, answers: Int) {
    if Int(chain.head) >= slots.count {
      slots.append(contentsOf: repeatElement(Slot(), count: Int(chain.head) + 1 - slots.count))
    }
    slots[Int(chain.head)] = Slot(
      status: chain.lastWritable, written: UInt32(clamping: chain.writableCount + 1),
      requestsLeft: UInt32(clamping: answers))
  }

  /// One answer has come; with the last one the chain goes back, with the worst status of all.
  package mutating func close(_ completion: BlockCompletion, in queue: Virtqueue) {
    let head = Int(completion.tag)
    if completion.status != .ok { slots[head].worst = completion.status }
    slots[head].requestsLeft -= 1
    guard slots[head].requestsLeft == 0 else { return }
    slots[head].status?.storeBytes(of: slots[head].worst.rawValue, as: UInt8.self)
    queue.complete(head: UInt16(head), written: slots[head].written)
  }

  /// Answers a chain that the disk never sees.
  package mutating func refuse(_ chain: Chain, _ status: BlockStatus, in queue: Virtqueue) {
    open(chain, answers: 1)
    close(BlockCompletion(tag: UInt64(chain.head), status: status), in: queue)
  }
}

extension Chain {
  /// What is left of a parsed chain, as the data of its request.
  func data(for request: BlockRequest) -> UnsafeBufferPointer<iovec> {
    switch request.operation {
    case .read: UnsafeBufferPointer(writable)
    case .write: UnsafeBufferPointer(readable)
    case .flush, .discard, .writeZeroes: UnsafeBufferPointer(start: nil, count: 0)
    }
  }

  /// Answers GET_ID: the disk's name, NUL-padded, cut to what fits.
  func identify(as name: String) {
    var bytes = Array(name.utf8.prefix(Limits.identityBytes))
    bytes.append(contentsOf: repeatElement(0, count: Limits.identityBytes - bytes.count))
    _ = bytes.withUnsafeBytes { copyWritable($0, at: 0) }
  }
}
