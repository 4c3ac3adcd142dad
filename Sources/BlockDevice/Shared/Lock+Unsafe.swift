// Mutual exclusion.
import Glibc

/// Lets one thread at a time run what it protects.
///
/// A `pthread_mutex_t`, as fast as `Synchronization.Mutex` when nobody waits, which waits without handing the
/// lock over in the kernel, and which the thread sanitizer knows (Swift 6.3's Mutex it takes for no lock).
///
/// SAFETY: the mutex lies where it is from the first to the last use.
struct Lock: ~Copyable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

  init() {
    mutex.initialize(to: pthread_mutex_t())
    let code = pthread_mutex_init(mutex, nil)
    precondition(code == 0)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  /// Runs `body` while nobody else runs theirs.
  @inline(__always)
  func callAsFunction<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }
}
