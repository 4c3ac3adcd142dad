// The system calls themselves, when their turn comes.
import Glibc
import Linux

/// Carries operations out within `run`, one after another: for what lies in memory, where a system call is
/// all there is to it.
///
/// A run carries out as many as the engine is deep, and leaves the rest to the next, so that descriptors have
/// their turn. While there are operations they are looked at every few runs only: a system call each time
/// would cost as much as the operation.
final class InlineEngine: TableEngine {
  private static let wakeUpTag: UInt64 = 1

  private let depth: Int
  var table: OperationTable
  private var readiness: ReadinessSet
  private var watchesWakeUp = false
  private var runsUntilLook = 0

  init(depth: Int, mischief: Mischief? = nil) throws(LinuxError) {
    self.depth = depth
    table = OperationTable(mischief: mischief)
    readiness = try ReadinessSet()
  }

  var kind: EngineKind { .synchronous }

  func watch(_ descriptor: CInt, tag: UInt64) throws(BlockIOError) {
    do throws(LinuxError) { try readiness.add(descriptor, tag: tag) } catch { throw .engine(kind, error) }
  }

  func unwatch(_ descriptor: CInt) { readiness.remove(descriptor) }

  func step(_ wait: Wait, into events: inout [IOEvent]) throws(LinuxError) {
    let before = events.count
    carryOut(into: &events)
    if !watchesWakeUp, let wakeUp = table.wakeUp {
      try readiness.add(wakeUp.descriptor, tag: Self.wakeUpTag, isInternal: true)
      watchesWakeUp = true
    }
    guard !readiness.isEmpty else { return }
    runsUntilLook -= 1
    let isBusy = events.count > before || table.hasReady
    if isBusy, runsUntilLook > 0 { return }
    runsUntilLook = Limits.runsPerLook
    // Only for other engines' ranges, or for descriptors.
    guard table.underWay > 0 || readiness.externalCount > 0 else { return }
    if try readiness.wait(isBusy ? .no : wait, into: &events) & Self.wakeUpTag != 0 {
      table.wokeUp()
      carryOut(into: &events)
    }
  }

  private func carryOut(into events: inout [IOEvent]) {
    var budget = depth
    while budget > 0, let slot = table.next(into: &events) {
      table.complete(slot, result: slot.pointee.step.execute(), into: &events)
      budget -= 1
    }
  }
}
