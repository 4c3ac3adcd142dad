// Marking what is written, for a guest that is moved to another host.
import Linux

extension Session {
  /// A log, or a larger one. Rings that run mark their writes in it from now on.
  /// - Returns: a number, which nobody looks at: QEMU only waits for it.
  func setLogBase(_ payload: RawSpan) throws(VhostUserError) -> [UInt8] {
    try require(.logDescriptor)
    let layout = try LogLayout(parsing: payload)
    guard inboxDescriptors.count == 1, let descriptor = inboxDescriptors.borrowed.first else {
      throw .descriptorCount(inboxDescriptors.count, expected: 1)
    }
    let log = try DirtyLog(size: layout.size, offset: layout.offset, descriptor: descriptor)
    dirtyLog = log
    for queue in queues { perform(on: queue) { queue.setLog(log) } }
    return encoded(0)
  }

  /// A descriptor that is signalled when there is something new in the log.
  func setLogDescriptor(_ payload: RawSpan) throws(VhostUserError) {
    guard inboxDescriptors.count == 1, let descriptor = inboxDescriptors.takeFirst() else {
      throw .descriptorCount(inboxDescriptors.count, expected: 1)
    }
    let signal = SharedSignal(try Signal(owning: descriptor))
    for queue in queues { perform(on: queue) { queue.logSignal = signal } }
  }
}
