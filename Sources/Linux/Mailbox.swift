// Work for another thread.
import Glibc

/// Closures that one thread takes and any thread puts in.
///
/// The owner watches `descriptor`, and calls `drain` when it is readable. A mailbox is open from the start,
/// so that what comes before the owner's first look is not lost; after `close` everything is done by whoever
/// brings it, because there is no owner any more whom it could disturb.
package final class Mailbox: Sendable {
  private struct State {
    var letters: [@Sendable () -> Void] = []
    var isClosed = false
  }

  private let state = Guarded(State())
  private let bell: WakeUp

  package init() throws(LinuxError) { bell = try WakeUp() }

  /// Readable when there is something to do.
  package var descriptor: CInt { bell.descriptor }

  /// Leaves a closure to the owner, and goes on.
  package func post(_ body: @escaping @Sendable () -> Void) { if !put(body) { body() } }

  /// Calls `body` while the owner stands still between two other things. Not for the owner itself: it would
  /// wait for ever.
  package func perform(_ body: () -> Void) {
    let arrived = Rendezvous()
    let done = Rendezvous()
    let isOpen = put {
      arrived.signal()
      done.wait()
    }
    if isOpen { arrived.wait() }
    body()
    done.signal()
  }

  /// Returns whether the owner will find it.
  private func put(_ body: @escaping @Sendable () -> Void) -> Bool {
    let isOpen = state.withLock { state in
      if !state.isClosed { state.letters.append(body) }
      return !state.isClosed
    }
    if isOpen { bell.wake() }
    return isOpen
  }

  /// Does everything that was put in. The owner's.
  package func drain() {
    bell.clear()
    carryOut(closing: false)
  }

  /// Does everything that was put in, and takes nothing any more. The owner's.
  package func close() { carryOut(closing: true) }

  private func carryOut(closing: Bool) {
    let letters = state.withLock { state in
      if closing { state.isClosed = true }
      defer { state.letters.removeAll(keepingCapacity: true) }
      return state.letters
    }
    for letter in letters { letter() }
  }
}

/// One thread waits until another has come here.
package final class Rendezvous: @unchecked Sendable {
  // SAFETY: sem_t has its own order between threads; both hold this object while they use it.
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  package init() { sem_init(semaphore, 0, 0) }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  /// The other thread goes on, or will not wait.
  package func signal() { sem_post(semaphore) }

  /// Waits for one `signal`.
  package func wait() { while sem_wait(semaphore) != 0 {} }
}
