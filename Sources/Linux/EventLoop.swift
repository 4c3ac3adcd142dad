// One thread's wait for many descriptors.
import CLinux
import Glibc

/// Calls handlers when descriptors become readable: level-triggered `epoll(7)`, one thread, no timers.
///
/// Handlers may add and remove descriptors, their own included. Among the descriptors that one wait reports
/// the order is the order of their registration, so that it does not depend on the kernel's.
package final class EventLoop {
  /// Names one registration.
  package struct Token: Hashable {
    fileprivate let slot: Int
    fileprivate let generation: UInt32
  }

  private struct Registration {
    var generation: UInt32 = 0
    /// Counts registrations of all slots: a slot that is used again goes to the end of the order.
    var order: UInt64 = 0
    var isActive = true
    var descriptor: CInt = -1
    var handler: (() -> Void)?
  }

  private let epoll: Descriptor
  private var registrations: [Registration] = []
  private var vacant: [Int] = []
  private var lastOrder: UInt64 = 0
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
    lastOrder += 1
    registrations[slot] = Registration(
      generation: generation, order: lastOrder, descriptor: descriptor, handler: handler)
    do throws(LinuxError) {
      try watch(slot)
    } catch {
      registrations[slot].handler = nil
      vacant.append(slot)
      throw error
    }
    return Token(slot: slot, generation: generation)
  }

  /// Stops or resumes looking at the descriptor, without forgetting it.
  ///
  /// The kernel forgets it meanwhile: without any event asked for it would still report a peer that has
  /// closed.
  package func setActive(_ token: Token, _ active: Bool) throws(LinuxError) {
    guard isCurrent(token), registrations[token.slot].isActive != active else { return }
    if active { try watch(token.slot) } else { unwatch(token.slot) }
    registrations[token.slot].isActive = active
  }

  /// Forgets the descriptor; call it before the descriptor is closed.
  package func remove(_ token: Token) {
    guard isCurrent(token) else { return }
    if registrations[token.slot].isActive { unwatch(token.slot) }
    registrations[token.slot].handler = nil
    registrations[token.slot].descriptor = -1
    vacant.append(token.slot)
  }

  /// Calls `body` after the handlers of the present wait, before those of the next one.
  package func afterHandlers(_ body: @escaping () -> Void) { deferred.append(body) }

  /// Waits for at most `timeout` milliseconds (nil: until something happens) and calls the handlers that are
  /// due.
  ///
  /// Does not wait when something was put off by `afterHandlers`: whoever calls this in a loop looks at its
  /// condition again after each step. What is put off while such things are carried out is left for the next
  /// call, so that descriptors have their turn.
  /// - Returns: whether anything was done.
  @discardableResult
  package func runOnce(timeout: CInt? = nil) throws(LinuxError) -> Bool {
    let wasPutOff = carryOutDeferred()
    let patience = wasPutOff || !deferred.isEmpty ? 0 : timeout ?? -1
    let count = Int(
      try retrying("epoll_wait", "") {
        epoll_wait(epoll.rawValue, ready.baseAddress, CInt(ready.count), patience)
      })
    if count > 1 { ready[..<count].sort { order($0) < order($1) } }
    for index in 0..<count {
      // An earlier handler of this batch may have removed it: then the generation has moved on, or it is
      // vacant.
      let slot = Self.slot(ready[index])
      guard registrations[slot].generation == UInt32(truncatingIfNeeded: ready[index].data.u64),
        registrations[slot].isActive
      else { continue }
      registrations[slot].handler?()
    }
    return carryOutDeferred() || wasPutOff || count > 0
  }

  private func carryOutDeferred() -> Bool {
    guard !deferred.isEmpty else { return false }
    let bodies = deferred
    deferred.removeAll(keepingCapacity: true)
    for body in bodies { body() }
    return true
  }

  private static func slot(_ event: epoll_event) -> Int { Int(truncatingIfNeeded: event.data.u64 >> 32) }

  private func order(_ event: epoll_event) -> UInt64 { registrations[Self.slot(event)].order }

  private func isCurrent(_ token: Token) -> Bool {
    registrations[token.slot].generation == token.generation && registrations[token.slot].handler != nil
  }

  private func watch(_ slot: Int) throws(LinuxError) {
    var event = epoll_event()
    event.events = UInt32(EPOLLIN.rawValue)
    event.data.u64 = UInt64(slot) << 32 | UInt64(registrations[slot].generation)
    _ = try retrying("epoll_ctl", "") {
      epoll_ctl(epoll.rawValue, EPOLL_CTL_ADD, registrations[slot].descriptor, &event)
    }
  }

  private func unwatch(_ slot: Int) {
    _ = epoll_ctl(epoll.rawValue, EPOLL_CTL_DEL, registrations[slot].descriptor, nil)
  }
}

/// The numbers that bound this module.
package enum Limits {
  /// How many ready descriptors one wait reports.
  package static let eventsPerWait = 64
  /// How many descriptors one message may carry.
  package static let descriptorsPerMessage = Int(CLINUX_DESCRIPTORS_MAX)
}
