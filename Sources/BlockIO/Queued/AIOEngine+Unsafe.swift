// Operations in the kernel's older asynchronous interface.
import CAIO
import Glibc
import Linux

/// Submits with one system call and reaps with another (`io_submit(2)`, `io_getevents(2)`).
///
/// Truly asynchronous with O_DIRECT only: through the page cache the kernel waits within `io_submit`. It has
/// no way to zero a range, which is done within `run`.
///
/// SAFETY: a control block is copied by the kernel at `io_submit`, and so is the list of parts; a request
/// carries the address of its operation, which stays until its event is reaped.
final class AIOEngine: QueuedEngine {
  private var context: io_context_t?
  private let inKernelMax: Int
  private let blocks: UnsafeMutablePointer<iocb>
  /// A poll is cancelled by its block's address, so each watched descriptor has one of its own.
  private let polls: UnsafeMutablePointer<iocb>
  private let list: UnsafeMutablePointer<UnsafeMutablePointer<iocb>?>
  private let completions: UnsafeMutablePointer<io_event>
  private var table: OperationTable
  private var watches = WatchTable()
  private var inKernel = 0
  private var watchesWakeUp = false

  init(depth: Int, mischief: Mischief? = nil) throws(LinuxError) {
    inKernelMax = min(max(depth, Limits.ringEntriesMin), Limits.ringEntriesMax)
    let code = io_setup(CInt(inKernelMax + Limits.pollsMax), &context)
    guard code == 0 else { throw LinuxError("io_setup", "", code: -code) }
    blocks = .allocate(capacity: inKernelMax)
    polls = .allocate(capacity: Limits.pollsMax)
    list = .allocate(capacity: inKernelMax + Limits.pollsMax)
    completions = .allocate(capacity: Limits.completionsPerReap)
    table = OperationTable(mischief: mischief)
  }

  deinit {
    // Waits for what is under way.
    io_destroy(context)
    blocks.deallocate()
    polls.deallocate()
    list.deallocate()
    completions.deallocate()
  }

  var kind: EngineKind { .aio }
  var underWay: Int { table.underWay }

  func enqueue(_ operation: IOOperation, parts: UnsafeBufferPointer<iovec>) { table.add(operation, parts) }

  func watch(_ descriptor: CInt, tag: UInt64) throws(BlockIOError) {
    do throws(LinuxError) {
      // One is left for the engine itself.
      guard watches.externalCount < Limits.pollsMax - 1 else {
        throw LinuxError("watch", "\(descriptor)", code: ENOSPC)
      }
      try watches.add(descriptor, tag: tag)
    } catch { throw .engine(kind, error) }
  }

  func unwatch(_ descriptor: CInt) {
    guard let (index, _) = watches.remove(descriptor) else { return }
    var ignored = io_event()
    // The event comes nevertheless, and is nobody's by then.
    io_cancel(context, polls + index, &ignored)
  }

  func run(_ wait: Wait, into events: inout [IOEvent]) throws(BlockIOError) {
    do throws(LinuxError) { try step(wait, into: &events) } catch { throw .engine(kind, error) }
  }

  private func step(_ wait: Wait, into events: inout [IOEvent]) throws(LinuxError) {
    let before = events.count
    while true {
      let isFull = try !submit(into: &events)
      let isIdle = table.underWay == 0 && watches.externalCount == 0
      let patience = events.count > before || (canSubmit && !isFull) || isIdle ? .no : wait
      let reaped = try reap(patience, into: &events)
      if isFull, inKernel == 0 { carryOut(into: &events) }
      if canSubmit, reaped > 0 || !isFull { continue }
      if patience != wait || wait != .forever || reaped == 0 || events.count > before { return }
    }
  }

  private var canSubmit: Bool { table.hasReady && inKernel < inKernelMax }

  /// - Returns: false when the kernel has no room for more.
  private func submit(into events: inout [IOEvent]) throws(LinuxError) -> Bool {
    if !watchesWakeUp, let wakeUp = table.wakeUp {
      try watches.add(wakeUp.descriptor, tag: 0, isInternal: true)
      watchesWakeUp = true
    }
    var count = 0
    while let index = watches.arm() {
      io_prep_poll(polls + index, watches.watches[index].descriptor, CInt(POLLIN))
      polls[index].data = UnsafeMutableRawPointer(bitPattern: UInt(watches.data(index)))
      list[count] = polls + index
      count += 1
    }
    var operations = 0
    while inKernel + operations < inKernelMax, let operation = table.next(into: &events) {
      guard prepare(blocks + operations, operation) else {
        table.complete(operation, result: operation.pointee.step.execute(), into: &events)
        continue
      }
      list[count] = blocks + operations
      operations += 1
      count += 1
    }
    return try submit(count: count, into: &events)
  }

  private func submit(count: Int, into events: inout [IOEvent]) throws(LinuxError) -> Bool {
    var first = 0
    while first < count {
      let result = Int(io_submit(context, count - first, list + first))
      for index in first..<first + max(0, result) where operation(list[index]) != nil { inKernel += 1 }
      first += max(0, result)
      if result > 0 { continue }
      let code = CInt(truncatingIfNeeded: -result)
      if result == 0 || code == EAGAIN || code == EINTR {
        for index in (first..<count).reversed() { takeBack(list[index]) }
        return false
      }
      // It is the first that the kernel does not take.
      if let operation = operation(list[first]) {
        table.complete(operation, result: result, into: &events)
      } else if let poll = list[first] {
        _ = watches.completed(UInt64(UInt(bitPattern: poll.pointee.data)), result: result, into: &events)
      }
      first += 1
    }
    return true
  }

  private func operation(_ block: UnsafeMutablePointer<iocb>?) -> UnsafeMutablePointer<Operation>? {
    guard let data = block?.pointee.data, !WatchTable.isWatch(UInt64(UInt(bitPattern: data))) else {
      return nil
    }
    return data.assumingMemoryBound(to: Operation.self)
  }

  private func takeBack(_ block: UnsafeMutablePointer<iocb>?) {
    if let operation = operation(block) {
      table.putBack(operation)
    } else if let block {
      watches.disarm(block - polls)
    }
  }

  /// - Returns: false for what the kernel has no asynchronous way of.
  private func prepare(_ block: UnsafeMutablePointer<iocb>, _ operation: UnsafeMutablePointer<Operation>)
    -> Bool
  {
    let step = operation.pointee.step
    switch step.kind {
    case .read where step.partCount == 1:
      io_prep_pread(
        block, step.descriptor, step.parts.pointee.iov_base, step.parts.pointee.iov_len, Int64(step.offset))
    case .write where step.partCount == 1:
      io_prep_pwrite(
        block, step.descriptor, step.parts.pointee.iov_base, step.parts.pointee.iov_len, Int64(step.offset))
    case .read: io_prep_preadv(block, step.descriptor, step.parts, CInt(step.partCount), Int64(step.offset))
    case .write: io_prep_pwritev(block, step.descriptor, step.parts, CInt(step.partCount), Int64(step.offset))
    case .synchronize:
      memset(block, 0, MemoryLayout<iocb>.size)
      block.pointee.aio_fildes = step.descriptor
      block.pointee.aio_lio_opcode = Int16(IO_CMD_FDSYNC.rawValue)
    case .zero, .unmap: return false
    }
    block.pointee.data = UnsafeMutableRawPointer(operation)
    return true
  }

  private func reap(_ patience: Wait, into events: inout [IOEvent]) throws(LinuxError) -> Int {
    var total = 0
    var patience = patience
    while true {
      let count = Int(getEvents(patience))
      guard count >= 0 else {
        if count == -Int(EINTR) { return total }
        throw LinuxError("io_getevents", "", code: CInt(-count))
      }
      for index in 0..<count { take(completions[index], into: &events) }
      total += count
      if count < Limits.completionsPerReap { return total }
      patience = .no
    }
  }

  private func getEvents(_ patience: Wait) -> CInt {
    let least = patience == .no ? 0 : 1
    if patience == .forever {
      return io_getevents(context, least, Limits.completionsPerReap, completions, nil)
    }
    let milliseconds = Int(patience.milliseconds)
    var time = timespec(tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
    return io_getevents(context, least, Limits.completionsPerReap, completions, &time)
  }

  private func take(_ event: io_event, into events: inout [IOEvent]) {
    let result = Int(bitPattern: event.res)
    let data = UInt64(UInt(bitPattern: event.data))
    if WatchTable.isWatch(data) {
      if watches.completed(data, result: result, into: &events) == .own { table.wokeUp() }
      return
    }
    guard let operation = UnsafeMutablePointer<Operation>(bitPattern: UInt(data)) else { return }
    inKernel -= 1
    let isRefused = result == -Int(EINVAL) || result == -Int(EOPNOTSUPP)
    if isRefused, operation.pointee.step.kind == .synchronize {
      // A file system without it.
      return table.complete(operation, result: operation.pointee.step.execute(), into: &events)
    }
    table.complete(operation, result: result, into: &events)
  }

  /// The kernel takes nothing, and nothing is with it that could make room.
  private func carryOut(into events: inout [IOEvent]) {
    guard let operation = table.next(into: &events) else { return }
    table.complete(operation, result: operation.pointee.step.execute(), into: &events)
  }
}

extension Limits {
  /// How many descriptors one AIO engine watches: the kernel sets room aside for them.
  static let pollsMax = 32
}
