// A double: an engine that does everything allowed, from a seed.
import BlockIO
import Glibc
import Simulation

/// Does operations piece by piece, in any order, and tells of them later, in any order; some fail half-way.
final class ShuffledEngine: QueuedEngine {
  private struct Entry {
    let operation: IOOperation
    let parts: [iovec]
    var done: UInt64 = 0
    var code: CInt = 0
    var isOver = false
    /// For `synchronize`: what it covers.
    let covered: Int
  }

  let kind = EngineKind.synchronous
  private let medium: VolatileMedium
  private var random: RandomStream
  private var entries: [Entry] = []
  private var watched: [(descriptor: CInt, tag: UInt64)] = []
  private let unit: UInt64
  /// One of how many operations fails; 0 for none.
  var failureRate: UInt64 = 0
  /// One of how many synchronisations fails; 0 for none.
  var synchronizeFailureRate: UInt64 = 0
  private(set) var failures = 0
  /// The operations of the runs before, by what was enqueued together.
  private(set) var batches: [[IOOperation.Kind]] = [[]]

  init(_ medium: VolatileMedium, seed: UInt64, name: String, unit: UInt64) {
    self.medium = medium
    self.unit = unit
    random = RandomStream(seed: seed, name: name)
  }

  var underWay: Int { entries.count }

  func enqueue(_ operation: IOOperation, parts: UnsafeBufferPointer<iovec>) {
    entries.append(Entry(operation: operation, parts: Array(parts), covered: medium.sequence))
    batches[batches.count - 1].append(operation.kind)
  }

  func watch(_ descriptor: CInt, tag: UInt64) { watched.append((descriptor, tag)) }
  func unwatch(_ descriptor: CInt) { watched.removeAll { $0.descriptor == descriptor } }

  func run(_ wait: Wait, into events: inout [IOEvent]) throws(BlockIOError) {
    if batches.last?.isEmpty == false { batches.append([]) }
    repeat {
      for _ in 0..<random.next() % 4 where !entries.isEmpty {
        step(Int(random.next() % UInt64(entries.count)))
      }
      for index in entries.indices.reversed() where entries[index].isOver && random.next() % 2 == 0 {
        events.append(IOEvent(tag: entries[index].operation.tag, code: entries[index].code))
        entries.remove(at: index)
      }
      for (descriptor, tag) in watched {
        var query = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        if poll(&query, 1, 0) > 0 { events.append(IOEvent(tag: tag, code: 0)) }
      }
    } while wait == .forever && events.isEmpty && !entries.isEmpty
  }

  private func step(_ index: Int) {
    guard !entries[index].isOver else { return }
    let entry = entries[index]
    let operation = entry.operation
    let rate = operation.kind == .synchronize ? synchronizeFailureRate : failureRate
    // Not only at its beginning.
    let fails = rate > 0 && random.next() % (rate * 2) == 0
    do throws(BlockIOError) {
      if fails {
        failures += 1
        throw .transfer(.write, path: "", offset: 0, count: 0, code: random.next() % 2 == 0 ? EIO : ENOSPC)
      }
      if operation.kind == .synchronize {
        try medium.synchronize(operation.file, upTo: entry.covered)
        entries[index].isOver = true
        return
      }
      let left = operation.count - entry.done
      let piece = random.next() % 3 > 0 ? left : min(left, random.next() % (left / unit + 1) * unit)
      var slices = IOVectorList()
      if operation.kind == .read || operation.kind == .write {
        var cursor = IOVectorCursor()
        entry.parts.withUnsafeBufferPointer {
          slices.append(entry.done, of: $0, from: &cursor)
          slices.removeAll()
          slices.append(piece, of: $0, from: &cursor)
        }
      }
      let offset = operation.offset + entry.done
      switch operation.kind {
      case .read: try medium.read(operation.file, at: offset, into: slices.parts)
      case .write: try medium.write(operation.file, at: offset, from: slices.parts)
      default:
        try medium.zero(operation.file, offset..<offset + piece, unmap: operation.kind == .zeroAndUnmap)
      }
      entries[index].done += piece
      entries[index].isOver = entries[index].done == operation.count
    } catch {
      entries[index].code = error.code ?? EIO
      entries[index].isOver = true
    }
  }
}
