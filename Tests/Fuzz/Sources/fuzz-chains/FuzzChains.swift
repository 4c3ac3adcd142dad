// Any bytes as the memory of a ring.
import CLinux
import Glibc
import Linux
import VhostUser

/// Guest memory that is made once: two regions of two pages, adjacent for the guest, swapped in the file.
private final class Stage {
  static let regionByteCount = 8192
  static let sizeMax = 8
  // As close together as they can be, so that short inputs reach everything.
  static let available = 128
  static let used = 152
  static let tables = 256
  static let addresses = VringAddress(
    index: 0, descriptors: 0, used: UInt64(used), available: UInt64(available))

  let memory: GuestMemory
  let mapping: Mapping
  /// What a predecessor wrote down.
  let inflight: InflightArea
  let record: Mapping

  init() throws(VhostUserError) {
    do throws(LinuxError) {
      let file = try makeSealedMemory(named: "fuzz", count: 2 * Self.regionByteCount)
      mapping = try Mapping(sharing: file, count: 2 * Self.regionByteCount)
      let size = UInt64(Self.regionByteCount)
      do throws(VhostUserError) {
        let made = try InflightArea.make(queueCount: 1, queueSize: UInt16(Self.sizeMax))
        inflight = try InflightArea(made.layout, descriptor: made.file.rawValue)
        do throws(LinuxError) {
          record = try Mapping(sharing: made.file, count: Int(made.layout.size))
        } catch { throw .system(error) }
        memory = try GuestMemory(
          regions: [
            MemoryRegion(guest: 0, size: size, user: 0, fileOffset: size),
            MemoryRegion(guest: size, size: size, user: 2 * size, fileOffset: 0),
          ], descriptors: [file.rawValue, file.rawValue])
      } catch { preconditionFailure("\(error)") }
    } catch { throw .system(error) }
  }
}

nonisolated(unsafe) private let stage = try? Stage()
nonisolated(unsafe) private var sink = 0

/// Byte 0: size of the ring, features, encoding, layout (bit 6), whether there was a predecessor (bit 7); byte
/// 1: which chains are completed at once. With a predecessor the next 320 bytes are what it wrote down. The
/// rest is memory from address 0, either as it is, or (bit 5) as descriptors of six bytes, of which the first
/// fill the ring's table, the others indirect tables, and every one of the first is made available.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzChains(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 2 else { return 0 }
  let size = UInt16(1) << UInt16(bytes[0] & 3)
  let isPacked = bytes[0] & 64 != 0
  var features = RingFeatures.version1
  if bytes[0] & 8 != 0 { features |= RingFeatures.indirectDescriptors }
  if bytes[0] & 16 != 0 { features |= RingFeatures.eventIndex }
  if isPacked { features |= RingFeatures.packed }
  var answersAtOnce = bytes[1]

  guard let stage else { fatalError("no stage") }
  let start = stage.mapping.base + Stage.regionByteCount
  memset(stage.mapping.base, 0, 2 * Stage.regionByteCount)
  memset(stage.record.base, 0, stage.record.count)
  var input = UnsafeRawBufferPointer(start: bytes + 2, count: count - 2)
  let hasPredecessor = bytes[0] & 128 != 0
  if hasPredecessor {
    let part = input.prefix(320)
    for (index, byte) in part.enumerated() {
      stage.record.base.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
    }
    input = UnsafeRawBufferPointer(rebasing: input.dropFirst(320))
  }
  let image = UnsafeRawBufferPointer(rebasing: input.prefix(2 * Stage.regionByteCount))
  if bytes[0] & 32 == 0 {
    require(stage.memory.write(image, at: 0))
  } else {
    expand(image, size: Int(size), isPacked: isPacked, at: start)
  }
  let base = UInt16(littleEndian: CLinux_load16(start + Stage.used + 2))
  if bytes[0] & 32 != 0, !isPacked {
    CLinux_store16(start + Stage.available + 2, (base &+ size).littleEndian)
  }

  do throws(VhostUserError) {
    let queue = try Ring(
      size: size, addresses: Stage.addresses, base: isPacked ? 0x8000_8000 : UInt32(base),
      features: features, memory: stage.memory, inflight: hasPredecessor ? stage.inflight : nil)
    run(queue, &answersAtOnce)
  } catch {
    if case .inflight = error { return 0 }
    fatalError("\(error)")
  }
  return 0
}

/// Six bytes a descriptor: address / 4 (2), length (2; its upper nibble says how far to shift the rest),
/// flags, next; in a packed ring bit 3 of the flags says that it is not available.
private func expand(
  _ image: UnsafeRawBufferPointer, size: Int, isPacked: Bool, at start: UnsafeMutableRawPointer
) {
  for index in 0..<min(image.count / 6, 128) {
    let part = UnsafeRawBufferPointer(rebasing: image[(6 * index)..<(6 * index + 6)])
    let place = start + (index < size ? 16 * index : Stage.tables + 16 * (index - size))
    let length = part.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
    let flags = UInt16(part[4]) & (isPacked ? 7 : 0xff) | (isPacked && part[4] & 8 == 0 ? 0x80 : 0)
    place.storeBytes(of: UInt64(part.loadUnaligned(as: UInt16.self)) * 4, as: UInt64.self)
    place.storeBytes(of: UInt32(length & 0xfff) << (UInt32(length) >> 12), toByteOffset: 8, as: UInt32.self)
    place.storeBytes(of: flags, toByteOffset: isPacked ? 14 : 12, as: UInt16.self)
    place.storeBytes(of: UInt16(part[5]), toByteOffset: isPacked ? 12 : 14, as: UInt16.self)
    if index < size, !isPacked { CLinux_store16(start + Stage.available + 4 + 2 * index, UInt16(index)) }
  }
}

private func run(_ start: consuming Ring, _ answersAtOnce: inout UInt8) {
  var queue = start
  var taken = 0
  var returned = 0
  steps: for _ in 0..<4 * Int(queue.size) {
    switch queue.next(asksForKick: answersAtOnce & 1 == 0) {
    case .chain(let chain):
      taken += 1
      require(chain.head < queue.size)
      look(at: chain)
      answersAtOnce = answersAtOnce &* 5 &+ 1
      if answersAtOnce & 0x10 != 0 {
        require(queue.complete(head: chain.head, written: 1))
        require(!queue.complete(head: chain.head, written: 1))
        returned += 1
      }
    case .refused: break
    case .empty: if !queue.hasAvailable { break steps }
    case .broken: break steps
    }
    require(queue.outstanding <= Int(queue.size))
    if answersAtOnce & 0x40 != 0 { sink &+= queue.publish() ? 1 : 0 }
  }
  // Whatever is still held can be completed, once each.
  for head in 0..<queue.size where queue.complete(head: head, written: 0) { returned += 1 }
  require(returned == taken)
  sink &+= queue.publish() ? 1 : 0
}

/// Not `precondition`, because the condition may do something.
private func require(_ condition: Bool, line: UInt = #line) {
  if !condition { fatalError("line \(line)") }
}

private func look(at chain: Chain) {
  var chain = chain
  require(chain.readable.reduce(0) { $0 + $1.iov_len } == chain.readableCount)
  require(chain.writable.reduce(0) { $0 + $1.iov_len } == chain.writableCount)
  require((chain.lastWritable == nil) == (chain.writableCount == 0))
  withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { header in
    let copied = chain.copyReadable(from: 0, to: header)
    require(copied == min(16, chain.readableCount))
    // In place over the ring itself: descriptors may change under our feet, as a guest may do.
    sink &+= chain.copyWritable(UnsafeRawBufferPointer(rebasing: header[..<copied]), at: 0)
  }
  chain.removeReadablePrefix(16)
  chain.removeWritableSuffix(1)
  for piece in chain.readable { sink &+= Int(piece.iov_base.load(as: UInt8.self)) }
  for piece in chain.writable {
    sink &+= Int(piece.iov_base.load(fromByteOffset: piece.iov_len - 1, as: UInt8.self))
  }
}
