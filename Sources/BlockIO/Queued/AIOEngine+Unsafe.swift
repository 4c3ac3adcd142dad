// Operations in the kernel's older asynchronous interface.
import CAIO
import Glibc
import Linux

/// Submits with one system call and reaps with another (`io_submit(2)`, `io_getevents(2)`).
///
/// Truly asynchronous with O_DIRECT only: through the page cache the kernel waits within `io_submit`. It has
/// no way to zero a range, which is done within `run`.
///
/// SAFETY: the kernel copies the list of parts at `io_submit`; a request carries the address of its
/// operation, which stays until its completion is reaped.
final class AIOEngine: TableEngine {
  private let aio: OpaquePointer
  private let completions: UnsafeMutableBufferPointer<CAIO_completion>
  private let inKernelMax: Int
  var table: OperationTable
  private var watches = WatchTable()
  private var inKernel = 0
  private var watchesWakeUp = false

  init(depth: Int, mischief: Mischief? = nil) throws(LinuxError) {
    inKernelMax = min(max(depth, Limits.ringEntriesMin), Limits.ringEntriesMax)
    var created: OpaquePointer?
    let code = CAIO_create(UInt32(inKernelMax), UInt32(Limits.pollsMax), &created)
    guard code == 0, let created else { throw LinuxError("io_setup", "", code: code) }
    aio = created
    completions = .allocate(capacity: Limits.completionsPerReap)
    table = OperationTable(mischief: mischief)
  }

  deinit {
    CAIO_destroy(aio)
    completions.deallocate()
  }

  var kind: EngineKind { .aio }

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
    if let (index, _) = watches.remove(descriptor) { CAIO_unpoll(aio, UInt32(index)) }
  }

  func step(_ wait: Wait, into events: inout [IOEvent]) throws(LinuxError) {
    let before = events.count
    if !watchesWakeUp, let wakeUp = table.wakeUp {
      try watches.add(wakeUp.descriptor, tag: 0, isInternal: true)
      watchesWakeUp = true
    }
    // Once a run: what is readable still is for the next.
    var toArm = watches.unarmedCount
    var wait = wait
    while true {
      prepare(&toArm, into: &events)
      let isTaken = try submit(into: &events)
      // The kernel takes nothing, and has nothing that could make room.
      if !isTaken, inKernel == 0 { carryOut(into: &events) }
      let isBusy = events.count > before || (canSubmit && isTaken) || isIdle
      let patience = isBusy ? 0 : wait.milliseconds
      let reaped = try reap(patience, into: &events)
      if patience > 0 { wait = .no }
      // A step that follows on another is submitted before the owner is busy with the events.
      if canSubmit, isTaken || reaped > 0, events.count - before < inKernelMax { continue }
      if wait != .forever || events.count > before || isIdle || reaped < 0 { return }
    }
  }

  private var canSubmit: Bool { table.hasReady && inKernel < inKernelMax }
  private var isIdle: Bool { table.underWay == 0 && watches.externalCount == 0 }

  private func prepare(_ toArm: inout Int, into events: inout [IOEvent]) {
    while toArm > 0 {
      let index = watches.arm()
      toArm -= 1
      CAIO_poll(aio, UInt32(index), watches.watches[index].descriptor, watches.data(index))
    }
    // Descriptors have their turn.
    let eventsMax = events.count + inKernelMax
    var room = min(inKernelMax - inKernel, Limits.requestsPerSubmission)
    while room > 0, events.count < eventsMax, let operation = table.next(into: &events) {
      let step = operation.pointee.step
      let data = UInt64(UInt(bitPattern: operation))
      switch step.kind {
      case .read: CAIO_read(aio, step.descriptor, step.parts, UInt32(step.partCount), step.offset, data)
      case .write: CAIO_write(aio, step.descriptor, step.parts, UInt32(step.partCount), step.offset, data)
      case .synchronize: CAIO_synchronize(aio, step.descriptor, data)
      case .zero, .unmap:
        table.complete(operation, result: step.execute(), into: &events)
        continue
      }
      room -= 1
    }
  }

  /// - Returns: false when the kernel has no room for more.
  private func submit(into events: inout [IOEvent]) throws(LinuxError) -> Bool {
    let count = CAIO_batch_count(aio)
    defer { CAIO_clear(aio) }
    var first: UInt32 = 0
    while first < count {
      let result = CAIO_submit(aio, first)
      if result > 0 {
        for index in first..<first + UInt32(result) where operation(index) != nil { inKernel += 1 }
        first += UInt32(result)
        continue
      }
      if result == 0 || result == -EAGAIN || result == -EINTR {
        for index in (first..<count).reversed() {
          if let operation = operation(index) {
            table.putBack(operation)
          } else {
            watches.disarm(CAIO_batch_data(aio, index))
          }
        }
        return false
      }
      // It is the first that the kernel does not take.
      if let operation = operation(first) {
        complete(operation, result: Int(result), into: &events)
      } else {
        _ = watches.completed(CAIO_batch_data(aio, first), result: Int(result), into: &events)
      }
      first += 1
    }
    return true
  }

  private func operation(_ index: UInt32) -> UnsafeMutablePointer<Operation>? {
    let data = CAIO_batch_data(aio, index)
    return WatchTable.isWatch(data) ? nil : UnsafeMutablePointer(bitPattern: UInt(data))
  }

  /// - Returns: how many completions there were; -1 when a signal ended the wait.
  private func reap(_ milliseconds: CInt, into events: inout [IOEvent]) throws(LinuxError) -> Int {
    var total = 0
    var patience = milliseconds
    while true {
      let count = Int(CAIO_reap(aio, patience, completions.baseAddress, UInt32(completions.count)))
      guard count >= 0 else {
        if count == -Int(EINTR) { return total > 0 ? total : -1 }
        throw LinuxError("io_getevents", "", code: CInt(-count))
      }
      for index in 0..<count { take(completions[index], into: &events) }
      total += count
      if count < completions.count { return total }
      patience = 0
    }
  }

  private func take(_ completion: CAIO_completion, into events: inout [IOEvent]) {
    if WatchTable.isWatch(completion.data) {
      let finding = watches.completed(completion.data, result: Int(completion.result), into: &events)
      if finding == .own { table.wokeUp() }
    } else if let operation = UnsafeMutablePointer<Operation>(bitPattern: UInt(completion.data)) {
      inKernel -= 1
      complete(operation, result: Int(completion.result), into: &events)
    }
  }

  private func complete(
    _ operation: UnsafeMutablePointer<Operation>, result: Int, into events: inout [IOEvent]
  ) {
    let step = operation.pointee.step
    // File systems without it refuse to synchronise in this way.
    let isRefused = step.kind == .synchronize && (result == -Int(EINVAL) || result == -Int(EOPNOTSUPP))
    table.complete(operation, result: isRefused ? step.execute() : result, into: &events)
  }

  private func carryOut(into events: inout [IOEvent]) {
    guard let operation = table.next(into: &events) else { return }
    table.complete(operation, result: operation.pointee.step.execute(), into: &events)
  }
}

extension Limits {
  /// How many descriptors one AIO engine watches: the kernel sets room aside for them.
  static let pollsMax = 32
}
