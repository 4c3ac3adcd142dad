// Operations in an io_uring.
import CUring
import Glibc
import Linux

/// Submits, waits and reaps with one system call a run (`io_uring_enter(2)`).
///
/// Only its owner enters the ring, so that the kernel posts completions when it is entered and interrupts
/// nobody (`SINGLE_ISSUER`, `DEFER_TASKRUN`); older kernels do without. Writes into the page cache are system
/// calls of their own, mostly (`Patience`), and so is what reaches a file in memory. A run copies half of
/// what is under way, and kernel threads take part in large reads (`CopyShare`). No more operations are in
/// the ring than half of what its completion queue holds; the others wait in the table.
///
/// SAFETY: a request carries the address of its operation, which stays until its completion is reaped.
final class UringEngine: TableEngine {
  private let ring: OpaquePointer
  private let completions: UnsafeMutableBufferPointer<CUring_completion>
  private let inRingMax: Int
  var table: OperationTable
  private var watches = WatchTable()
  private var inRing = 0
  private var isEnabled = false
  private var watchesWakeUp = false
  private var patience = Patience()
  private var copies = CopyShare()
  private(set) var leftWork = false

  init(depth: Int, mischief: Mischief? = nil) throws(LinuxError) {
    var created: OpaquePointer?
    let entries = min(max(depth, Limits.ringEntriesMin), Limits.ringEntriesMax)
    let code = CUring_create(UInt32(entries), &created)
    guard code == 0, let created else { throw LinuxError("io_uring_setup", "", code: code) }
    ring = created
    inRingMax = min(entries, Int(CUring_completion_capacity(created)) / 2)
    completions = .allocate(capacity: Limits.completionsPerReap)
    table = OperationTable(mischief: mischief)
  }

  deinit {
    CUring_destroy(ring)
    completions.deallocate()
  }

  var kind: EngineKind { .uring }

  func watch(_ descriptor: CInt, tag: UInt64) throws(BlockIOError) {
    do throws(LinuxError) { try watches.add(descriptor, tag: tag) } catch { throw .engine(kind, error) }
  }

  /// The poll is ended at once: it holds the file, and a peer would not learn that we closed it.
  func unwatch(_ descriptor: CInt) {
    guard let (_, poll) = watches.remove(descriptor) else { return }
    if CUring_space(ring) == 0 { CUring_flush(ring) }
    guard CUring_space(ring) > 0 else { return }
    CUring_unpoll(ring, poll, WatchTable.noData)
    CUring_flush(ring)
  }

  func step(_ wait: Wait, into events: inout [IOEvent]) throws(LinuxError) {
    if !isEnabled {
      let code = CUring_enable(ring)
      guard code == 0 else { throw LinuxError("io_uring_register", "", code: code) }
      isEnabled = true
    }
    let before = events.count
    if !watchesWakeUp, let wakeUp = table.wakeUp {
      try watches.add(wakeUp.descriptor, tag: 0, isInternal: true)
      watchesWakeUp = true
    }
    // Once a run: what is readable still is for the next.
    var toArm = watches.unarmedCount
    var wait = wait
    leftWork = false
    while true {
      copies.begin(underWay: table.underWay)
      fill(&toArm, into: &events)
      let patience =
        events.count > before || canFill || toArm > 0 || isIdle ? CInt(CURING_NO) : wait.milliseconds
      let code = CUring_enter(ring, patience)
      if case .milliseconds = wait, patience > 0 { wait = .no }
      let reaped = reap(into: &events)
      switch code {
      case 0: break
      // Nothing was submitted; what was reaped made room, or the caller comes again.
      case EBUSY, EAGAIN: if reaped == 0 { return }
      case ETIME, EINTR: return
      default: throw LinuxError("io_uring_enter", "", code: code)
      }
      if copies.isEnough, events.count > before {
        leftWork = canFill
        return
      }
      // A step that follows on another is submitted before the owner is busy with the events.
      if toArm > 0 || (canFill && events.count - before < inRingMax) { continue }
      if wait == .no || events.count > before || isIdle { return }
    }
  }

  private var canFill: Bool { table.hasReady && inRing < inRingMax }
  private var isIdle: Bool { table.underWay == 0 && watches.externalCount == 0 }

  private func fill(_ toArm: inout Int, into events: inout [IOEvent]) {
    while CUring_space(ring) > 0, toArm > 0 {
      let index = watches.arm()
      toArm -= 1
      CUring_poll(ring, watches.watches[index].descriptor, watches.data(index))
    }
    // Descriptors have their turn.
    let eventsMax = events.count + inRingMax
    var forDevice = 0
    while CUring_space(ring) > 0, inRing < inRingMax, events.count < eventsMax,
      forDevice < Limits.requestsPerSubmission, !copies.isEnough,
      let operation = table.next(into: &events)
    {
      let data = UInt64(UInt(bitPattern: operation))
      let step = operation.pointee.step
      let isCached = operation.pointee.goesThroughCache
      let isHandedOver =
        isCached
        && copies.handsOver(step.kind, bytes: operation.pointee.bytesLeft, othersWait: table.hasReady)
      operation.pointee.isHandedOver = isHandedOver
      if !isHandedOver, let result = result(ofOneAtOnce: operation) {
        table.complete(operation, result: result, into: &events)
        continue
      }
      switch step.kind {
      case .read:
        CUring_read(
          ring, step.descriptor, step.parts, UInt32(step.partCount), step.offset, isHandedOver, data)
        // What the owner copies from memory it copies before it enters the ring again.
        if isHandedOver, operation.pointee.file?.isInMemory == true { CUring_flush(ring) }
      case .write:
        CUring_write(ring, step.descriptor, step.parts, UInt32(step.partCount), step.offset, data)
      case .synchronize: CUring_synchronize(ring, step.descriptor, data)
      case .unmap: CUring_zero(ring, step.descriptor, step.offset, step.count, true, data)
      case .zero: CUring_zero(ring, step.descriptor, step.offset, step.count, false, data)
      }
      inRing += 1
      if !isCached { forDevice += 1 }
    }
  }

  /// Carries the step out by a system call, if that is better than to have it in the ring.
  private func result(ofOneAtOnce operation: UnsafeMutablePointer<Operation>) -> Int? {
    if operation.pointee.file?.isInMemory == true { return operation.pointee.step.execute() }
    guard operation.pointee.step.kind == .write, operation.pointee.goesThroughCache, patience.allows()
    else { return nil }
    defer { patience.wrote() }
    return operation.pointee.step.execute()
  }

  private func reap(into events: inout [IOEvent]) -> Int {
    var total = 0
    while true {
      let count = Int(CUring_reap(ring, completions.baseAddress, UInt32(completions.count)))
      for index in 0..<count {
        let data = completions[index].data
        let result = Int(completions[index].result)
        if WatchTable.isWatch(data) {
          if watches.completed(data, result: result, into: &events) == .own { table.wokeUp() }
        } else if data != WatchTable.noData,
          let operation = UnsafeMutablePointer<Operation>(bitPattern: UInt(data))
        {
          inRing -= 1
          if operation.pointee.isHandedOver { copies.workerIsDone() }
          table.complete(operation, result: result, into: &events)
        }
      }
      total += count
      if count < completions.count { return total }
    }
  }
}

extension Wait {
  /// As the shims have it: -1 for ever, 0 not at all.
  var milliseconds: CInt {
    switch self {
    case .no: 0
    case .forever: -1
    case .milliseconds(let count): max(0, count)
    }
  }
}

extension Limits {
  static let ringEntriesMin = 8
  /// No device has more requests under way than this.
  static let ringEntriesMax = 1024
  /// Requests that go to a device are submitted so many at a time: it is at work on the first while the
  /// others are prepared. With 32 at once it idled between batches, and gave a tenth less (virtio-blk,
  /// measured); the CPU time did not differ.
  static let requestsPerSubmission = 4
  /// How many completions are taken at a time.
  static let completionsPerReap = 64
}
