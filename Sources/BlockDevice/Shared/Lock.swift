// Mutual exclusion.
import Synchronization

/// Lets one thread at a time run what it protects.
struct Lock: ~Copyable {
  private let mutex = Mutex(())

  /// Runs `body` while nobody else runs theirs.
  @inline(__always)
  func callAsFunction<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    var result: Swift.Result<Result, Failure>?
    mutex.withLock { _ in
      do throws(Failure) { result = .success(try body()) } catch { result = .failure(error) }
    }
    guard let result else { preconditionFailure("a lock ran nothing") }
    return try result.get()
  }
}
