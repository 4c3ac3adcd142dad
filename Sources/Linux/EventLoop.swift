// One thread's wait for many descriptors.
import CLinux
import Glibc

/// Calls handlers when descriptors become readable: level-triggered `epoll(7)`, one thread, no timers.
///
/// Handlers may add and remove descriptors, their own included. Among descriptors that are ready at once the order
/// is the order of their registration, so that it does not depend on the kernel's.
package final class EventLoop {
  /// Names one registration.
  package struct Token: Hashable {
    fileprivate let slot: Int
    fileprivate let generation: UInt32
  }

  private struct Registration {
    var generation: UInt32 = 0
    var descriptor: CInt = -1
    var handler: (() -> Void)?
  }

  private let epoll: Descriptor
  private var registrations: [Registration] = []
  private var vacant: [Int] = []
  private var deferred: [() -> Void] = []
  private var ready: UnsafeMutableBufferPointer<epoll_event>

  package init() throws(LinuxError) {
    epoll = Descriptor(
      owning: try retrying("epoll_create1", "") { epoll_create1(CInt(bitPattern: 0o2000000)) })
    ready = .allocate(capacity: Limits.eventsPerWait)
  }

  deinit { ready.deallocate() }

  /// Calls `handler` whenever `descriptor` is readable, closed by its peer, or in error.
  package func add(_ descriptor: CInt, handler: @escaping () -> Void) throws(LinuxError) -> Token {
    let slot = vacant.popLast() ?? registrations.count
    if slot == registrations.count { registrations.append(Registration()) }
    let generation = registrations[slot].generation &+ 1
    registrations[slot] = Registration(generation: generation, descriptor: descriptor, handler: handler)
    do throws(LinuxError) {
      try control(EPOLL_CTL_ADD, slot: slot, readable: true)
    } catch {
      registrations[slot].handler = nil
      vacant.append(slot)
      throw error
    }
    return Token(slot: slot, generation: generation)
  }

  /// Stops or resumes looking at the descriptor, without forgetting it.
  package func setActive(_ token: Token, _ active: Bool) throws(LinuxError) {
    guard isCurrent(token) else { return }
    try control(EPOLL_CTL_MOD, slot: token.slot, readable: active)
  }

  /// Forgets the descriptor; call it before the descriptor is closed.
  package func remove(_ token: Token) {
    guard isCurrent(token) else { return }
    _ = epoll_ctl(epoll.rawValue, EPOLL_CTL_DEL, registrations[token.slot].descriptor, nil)
    registrations[token.slot].handler = nil
    registrations[token.slot].descriptor = -1
    vacant.append(token.slot)
  }

  /// Calls `body` after the handlers of the present wait, before the next one.
  package func afterHandlers(_ body: @escaping () -> Void) { deferred.append(body) }

  /// Waits for at most `timeout` milliseconds (nil: until something happens) and calls the handlers that are due.
  /// - Returns: whether anything was ready.
  @discardableResult
  package func runOnce(timeout: CInt? = nil) throws(LinuxError) -> Bool {
    while !deferred.isEmpty {
      let bodies = deferred
      deferred.removeAll(keepingCapacity: true)
      for body in bodies { body() }
    }
    let count = try retrying("epoll_wait", "") {
      epoll_wait(epoll.rawValue, ready.baseAddress, CInt(ready.count), timeout ?? -1)
    }
    if count > 1 { ready[..<Int(count)].sort { $0.data.u64 < $1.data.u64 } }
    for index in 0..<Int(count) {
      // An earlier handler of this batch may have removed it: then the generation has moved on, or it is vacant.
      let name = ready[index].data.u64
      let slot = Int(truncatingIfNeeded: name >> 32)
      guard registrations[slot].generation == UInt32(truncatingIfNeeded: name) else { continue }
      registrations[slot].handler?()
    }
    return count > 0
  }

  private func isCurrent(_ token: Token) -> Bool {
    registrations[token.slot].generation == token.generation && registrations[token.slot].handler != nil
  }

  private func control(_ operation: CInt, slot: Int, readable: Bool) throws(LinuxError) {
    var event = epoll_event()
    event.events = readable ? UInt32(EPOLLIN.rawValue) : 0
    event.data.u64 = UInt64(slot) << 32 | UInt64(registrations[slot].generation)
    _ = try retrying("epoll_ctl", "") {
      epoll_ctl(epoll.rawValue, operation, registrations[slot].descriptor, &event)
    }
  }
}

/// The numbers that bound this module.
package enum Limits {
  /// How many ready descriptors one wait reports.
  package static let eventsPerWait = 64
  /// How many descriptors one message may carry.
  package static let descriptorsPerMessage = Int(CLINUX_DESCRIPTORS_MAX)
}
