// Which descriptors are readable.
import CLinux
import Glibc
import Linux

/// Watched descriptors, level-triggered (`epoll(7)`), for the engines whose operations report elsewhere.
struct ReadinessSet: ~Copyable {
  private struct Watch {
    let descriptor: CInt
    let tag: UInt64
    let isInternal: Bool
  }

  private let epoll: Descriptor
  private let ready: UnsafeMutableBufferPointer<epoll_event>
  /// In no order; the kernel's events carry the index.
  private var watches: [Watch] = []

  init() throws(LinuxError) {
    // EPOLL_CLOEXEC
    epoll = Descriptor(owning: try retrying("epoll_create1", "") { epoll_create1(0o2000000) })
    ready = .allocate(capacity: Limits.descriptorsPerWait)
  }

  deinit { ready.deallocate() }

  var isEmpty: Bool { watches.isEmpty }
  /// Whether somebody but the engine itself is waited for.
  private(set) var externalCount = 0

  /// - Parameter isInternal: the engine's own; `wait` tells of it apart from the others.
  mutating func add(_ descriptor: CInt, tag: UInt64, isInternal: Bool = false) throws(LinuxError) {
    try control(EPOLL_CTL_ADD, descriptor, index: watches.count)
    watches.append(Watch(descriptor: descriptor, tag: tag, isInternal: isInternal))
    if !isInternal { externalCount += 1 }
  }

  mutating func remove(_ descriptor: CInt) {
    guard let index = watches.firstIndex(where: { $0.descriptor == descriptor && !$0.isInternal }) else {
      return
    }
    _ = epoll_ctl(epoll.rawValue, EPOLL_CTL_DEL, descriptor, nil)
    externalCount -= 1
    let last = watches.removeLast()
    guard index < watches.count else { return }
    watches[index] = last
    // Cannot fail for what is there; if somebody closed it, it is not there, and reports nothing.
    try? control(EPOLL_CTL_MOD, last.descriptor, index: index)
  }

  /// Appends an event for each descriptor that is readable.
  /// - Returns: the tags of the engine's own that are, or'ed.
  func wait(_ patience: Wait, into events: inout [IOEvent]) throws(LinuxError) -> UInt64 {
    let timeout: CInt =
      switch patience {
      case .no: 0
      case .forever: -1
      case .milliseconds(let count): max(0, count)
      }
    let count = epoll_wait(epoll.rawValue, ready.baseAddress, CInt(ready.count), timeout)
    guard count >= 0 else {
      if errno == EINTR { return 0 }
      throw LinuxError("epoll_wait", "")
    }
    var own: UInt64 = 0
    for index in 0..<Int(count) {
      // A copy of a closed descriptor, in a child that has not called exec yet, may still report.
      let place = Int(ready[index].data.u64)
      guard place < watches.count else { continue }
      let watch = watches[place]
      if watch.isInternal { own |= watch.tag } else { events.append(IOEvent(tag: watch.tag, code: 0)) }
    }
    return own
  }

  private func control(_ operation: CInt, _ descriptor: CInt, index: Int) throws(LinuxError) {
    var event = epoll_event()
    event.events = UInt32(EPOLLIN.rawValue)
    event.data.u64 = UInt64(index)
    _ = try retrying("epoll_ctl", "") { epoll_ctl(epoll.rawValue, operation, descriptor, &event) }
  }
}

extension Limits {
  /// How many readable descriptors one wait reports.
  static let descriptorsPerWait = 64
  /// How often engines that must ask about descriptors do so, at least, while operations complete: at one run
  /// of so many.
  static let runsPerLook = 8
}
