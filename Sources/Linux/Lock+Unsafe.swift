// Mutual exclusion.
package import Glibc

/// Lets one thread at a time run what it protects.
///
/// A `pthread_mutex_t`, as fast as `Synchronization.Mutex` when nobody waits, which waits without handing the
/// lock over in the kernel, and which the thread sanitizer knows (Swift 6.3's Mutex it takes for no lock).
///
/// SAFETY: the mutex lies where it is from the first to the last use.
package struct Lock: ~Copyable, @unchecked Sendable {
  @usableFromInline package let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

  package init() {
    mutex.initialize(to: pthread_mutex_t())
    let code = pthread_mutex_init(mutex, nil)
    precondition(code == 0)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  /// Runs `body` while nobody else runs theirs.
  @inlinable @inline(__always)
  package func callAsFunction<Result, Failure>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }
}

/// A value that one thread at a time sees.
///
/// SAFETY: the value is touched under the lock only.
package final class Guarded<Value>: @unchecked Sendable {
  @usableFromInline package let lock = Lock()
  @usableFromInline package var value: Value

  package init(_ value: Value) { self.value = value }

  /// Runs `body` with the value while nobody else has it.
  @inlinable @inline(__always)
  package func withLock<Result, Failure>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try lock { () throws(Failure) in try body(&value) }
  }
}
