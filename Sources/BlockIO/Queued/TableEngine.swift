// What the engines that have a table of operations have in common.
import Glibc
import Linux

/// An engine whose operations wait in a table of their own.
protocol TableEngine: QueuedEngine {
  var table: OperationTable { get set }
  /// Begins what can be begun, and waits.
  func step(_ wait: Wait, into events: inout [IOEvent]) throws(LinuxError)
}

extension TableEngine {
  var underWay: Int { table.underWay }

  func enqueue(_ operation: IOOperation, parts: UnsafeBufferPointer<iovec>) { table.add(operation, parts) }

  func run(_ wait: Wait, into events: inout [IOEvent]) throws(BlockIOError) {
    do throws(LinuxError) { try step(wait, into: &events) } catch { throw .engine(kind, error) }
  }
}
