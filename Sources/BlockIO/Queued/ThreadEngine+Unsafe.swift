// System calls that threads wait for.
import Glibc
import Linux

/// Carries operations out on a few threads: works everywhere, and costs a hand-over for each operation.
final class ThreadEngine: TableEngine {
  private static let wakeUpTag: UInt64 = 1
  private static let resultTag: UInt64 = 2

  var table: OperationTable
  private var readiness: ReadinessSet
  private let pool: WorkerPool
  private var watchesWakeUp = false
  private var runsUntilLook = 0

  init(depth: Int, mischief: Mischief? = nil) throws(LinuxError) {
    table = OperationTable(mischief: mischief)
    readiness = try ReadinessSet()
    pool = try WorkerPool(threadsMax: min(max(1, depth), Limits.threadsMax))
    try readiness.add(pool.descriptor, tag: Self.resultTag, isInternal: true)
  }

  deinit { pool.stop() }

  var kind: EngineKind { .threads }

  func watch(_ descriptor: CInt, tag: UInt64) throws(BlockIOError) {
    do throws(LinuxError) { try readiness.add(descriptor, tag: tag) } catch { throw .engine(kind, error) }
  }

  func unwatch(_ descriptor: CInt) { readiness.remove(descriptor) }

  func step(_ wait: Wait, into events: inout [IOEvent]) throws(LinuxError) {
    let before = events.count
    submit(into: &events)
    reap(sleeping: events.count == before && wait != .no, into: &events)
    if !watchesWakeUp, let wakeUp = table.wakeUp {
      try readiness.add(wakeUp.descriptor, tag: Self.wakeUpTag, isInternal: true)
      watchesWakeUp = true
    }
    var hasEvents = events.count > before
    runsUntilLook -= 1
    if hasEvents, runsUntilLook > 0 { return }
    runsUntilLook = Limits.runsPerLook
    // Nothing can come of what nobody does: not of an idle engine without descriptors.
    guard readiness.externalCount > 0 || (!hasEvents && table.underWay > 0) else { return }
    // A step that came out short was given back to the threads: its result ends the wait, not the run.
    var wait = wait
    while true {
      let own = try readiness.wait(hasEvents ? .no : wait, into: &events)
      if wait != .forever { wait = .no }
      if own & Self.wakeUpTag != 0 {
        table.wokeUp()
        submit(into: &events)
      }
      hasEvents = events.count > before
      guard own & Self.resultTag != 0 || !hasEvents else { return }
      reap(sleeping: !hasEvents && wait != .no, into: &events)
      hasEvents = events.count > before
      if hasEvents || own == 0 || wait == .no { return }
    }
  }

  private func submit(into events: inout [IOEvent]) {
    var list = OperationList()
    var count = 0
    while let slot = table.next(into: &events) {
      list.append(slot)
      count += 1
    }
    guard count > 0, !pool.submit(&list, count: count) else { return }
    // No thread can be had.
    while let slot = list.popFirst() {
      table.complete(slot, result: slot.pointee.step.execute(), into: &events)
    }
  }

  private func reap(sleeping: Bool, into events: inout [IOEvent]) {
    let before = events.count
    var list = pool.takeResults(sleeping: sleeping)
    while list.first != nil {
      while let slot = list.popFirst() { table.complete(slot, result: slot.pointee.result, into: &events) }
      submit(into: &events)
      // What was given back may be there before anybody sleeps.
      guard sleeping, events.count == before else { return }
      list = pool.takeResults(sleeping: true)
    }
  }
}
