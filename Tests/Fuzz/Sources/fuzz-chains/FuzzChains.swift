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

  init() throws(VhostUserError) {
    do throws(LinuxError) {
      let file = try makeSealedMemory(named: "fuzz", count: 2 * Self.regionByteCount)
      mapping = try Mapping(sharing: file, count: 2 * Self.regionByteCount)
      let size = UInt64(Self.regionByteCount)
      do throws(VhostUserError) {
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

/// Byte 0: size of the ring, features, encoding; byte 1: which chains are completed at once; the rest is
/// memory from address 0, either as it is, or (bit 5) as descriptors of six bytes, of which the first fill
/// the ring's table, the others indirect tables, and every one of the first is made available.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzChains(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 2 else { return 0 }
  let size = UInt16(1) << UInt16(bytes[0] & 3)
  var features = RingFeatures.version1
  if bytes[0] & 8 != 0 { features |= RingFeatures.indirectDescriptors }
  if bytes[0] & 16 != 0 { features |= RingFeatures.eventIndex }
  var answersAtOnce = bytes[1]

  guard let stage else { fatalError("no stage") }
  let start = stage.mapping.base + Stage.regionByteCount
  memset(stage.mapping.base, 0, 2 * Stage.regionByteCount)
  let image = UnsafeRawBufferPointer(start: bytes + 2, count: min(count - 2, 2 * Stage.regionByteCount))
  if bytes[0] & 32 == 0 {
    require(stage.memory.write(image, at: 0))
  } else {
    expand(image, size: Int(size), at: start)
  }
  let base = UInt16(littleEndian: CLinux_load16(start + Stage.used + 2))
  if bytes[0] & 32 != 0 { CLinux_store16(start + Stage.available + 2, (base &+ size).littleEndian) }

  do throws(VhostUserError) {
    let queue = try SplitQueue(
      size: size, addresses: Stage.addresses, base: base, features: features, memory: stage.memory)
    run(queue, &answersAtOnce)
  } catch { fatalError("\(error)") }
  return 0
}

/// Six bytes a descriptor: address / 4 (2), length (2; its upper nibble says how far to shift the rest),
/// flags, next.
private func expand(_ image: UnsafeRawBufferPointer, size: Int, at start: UnsafeMutableRawPointer) {
  for index in 0..<min(image.count / 6, 128) {
    let part = UnsafeRawBufferPointer(rebasing: image[(6 * index)..<(6 * index + 6)])
    let place = start + (index < size ? 16 * index : Stage.tables + 16 * (index - size))
    let length = part.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
    place.storeBytes(of: UInt64(part.loadUnaligned(as: UInt16.self)) * 4, as: UInt64.self)
    place.storeBytes(of: UInt32(length & 0xfff) << (UInt32(length) >> 12), toByteOffset: 8, as: UInt32.self)
    place.storeBytes(of: UInt16(part[4]), toByteOffset: 12, as: UInt16.self)
    place.storeBytes(of: UInt16(part[5]), toByteOffset: 14, as: UInt16.self)
    if index < size { CLinux_store16(start + Stage.available + 4 + 2 * index, UInt16(index)) }
  }
}

private func run(_ start: consuming SplitQueue, _ answersAtOnce: inout UInt8) {
  var queue = start
  var taken = 0
  var returned = 0
  steps: for _ in 0..<4 * Int(queue.size) {
    switch queue.next() {
    case .chain(let chain):
      taken += 1
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
  require(queue.outstanding == 0)
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
