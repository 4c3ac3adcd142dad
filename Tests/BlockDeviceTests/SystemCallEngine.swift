// The simplest engine that really waits.
import BlockIO
import Glibc

/// Does what was enqueued within `run`, one by one, and waits by poll(2).
final class SystemCallEngine: QueuedEngine {
  let kind = EngineKind.synchronous
  private let engine = SynchronousEngine()
  private var entries: [(operation: IOOperation, parts: [iovec])] = []
  private var watched: [pollfd] = []
  private var tags: [UInt64] = []

  var underWay: Int { entries.count }

  func enqueue(_ operation: IOOperation, parts: UnsafeBufferPointer<iovec>) {
    entries.append((operation, Array(parts)))
  }

  func watch(_ descriptor: CInt, tag: UInt64) {
    watched.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
    tags.append(tag)
  }

  func unwatch(_ descriptor: CInt) {
    guard let index = watched.firstIndex(where: { $0.fd == descriptor }) else { return }
    watched.remove(at: index)
    tags.remove(at: index)
  }

  func run(_ wait: Wait, into events: inout [IOEvent]) {
    for (operation, parts) in entries {
      var code: CInt = 0
      do throws(BlockIOError) {
        try parts.withUnsafeBufferPointer { parts throws(BlockIOError) in
          let range = operation.offset..<operation.offset + operation.count
          switch operation.kind {
          case .read: try engine.read(operation.file, at: operation.offset, into: parts)
          case .write: try engine.write(operation.file, at: operation.offset, from: parts)
          case .synchronize: try engine.synchronize(operation.file)
          case .zero: try engine.zero(operation.file, range, unmap: false)
          case .zeroAndUnmap: try engine.zero(operation.file, range, unmap: true)
          }
        }
      } catch { code = error.code ?? EIO }
      events.append(IOEvent(tag: operation.tag, code: code))
    }
    entries = []
    let timeout: CInt =
      switch wait {
      case .no: 0
      case .forever: events.isEmpty ? -1 : 0
      case .milliseconds(let count): events.isEmpty ? count : 0
      }
    guard poll(&watched, nfds_t(watched.count), timeout) > 0 else { return }
    for (index, one) in watched.enumerated() where one.revents != 0 {
      events.append(IOEvent(tag: tags[index], code: 0))
    }
  }
}
