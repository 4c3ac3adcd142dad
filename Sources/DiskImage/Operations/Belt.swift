// Work that another thread does, in its order.
import Dispatch
import Synchronization

/// Carries out pieces of work one after the other: on a thread of its own while the caller goes on, or at
/// once.
///
/// The thread has the caller's sink and its engine to itself until `finish`.
final class Belt: Sendable {
  private let queue: DispatchQueue?
  private let room: DispatchSemaphore
  private let state = Mutex(State())

  private struct State {
    var failure: DiskImageError?
    var count = 0
  }

  /// - Parameter capacity: how many pieces that `waitForRoom` was called for may be under way; 0 for none:
  ///   then
  ///   all is done at once.
  init(_ capacity: Int) {
    queue = capacity > 0 ? DispatchQueue(label: "ttblk.copy") : nil
    // Not its initial value: a semaphore must not go while it is below that.
    room = DispatchSemaphore(value: 0)
    for _ in 0..<capacity { room.signal() }
  }

  /// Waits until the next piece has a place; `add` follows, unless something is thrown and all is over.
  /// - Returns: the number of the place, counted from 0 on.
  func waitForRoom() throws(DiskImageError) -> Int {
    guard queue != nil else { return 0 }
    room.wait()
    let (number, failure) = state.withLock { state in
      state.count += 1
      return (state.count - 1, state.failure)
    }
    guard let failure else { return number }
    room.signal()
    throw failure
  }

  /// Adds the piece that a place was waited for.
  func add(_ work: @escaping () throws(DiskImageError) -> Void) throws(DiskImageError) {
    guard let queue else { return try work() }
    // The queue runs one piece at a time, each after what came before it on either side: they share nothing.
    nonisolated(unsafe) let work = work
    queue.async { [self] in
      run(work)
      room.signal()
    }
  }

  /// Waits until everything is done.
  /// - Throws: what went wrong first.
  func finish() throws(DiskImageError) {
    guard let queue else { return }
    queue.sync {}
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }

  private func run(_ work: () throws(DiskImageError) -> Void) {
    guard state.withLock({ $0.failure == nil }) else { return }
    do throws(DiskImageError) { try work() } catch { state.withLock { $0.failure = error } }
  }
}
