// Threads that wait for the kernel, so that nobody else has to.
import Glibc
import Linux

/// A few threads that carry steps out, for one owner. They start when there is work that no idle one can
/// take, and end with the pool.
///
/// SAFETY: everything but the constants is read and written under `mutex`. An operation belongs to the pool
/// from `submit` until `takeResults` returns it; a thread that carries it out touches only its step and its
/// result, and the memory that the step names.
final class WorkerPool: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let workArrived: UnsafeMutablePointer<pthread_cond_t>
  private let threadsMax: Int
  private let completed: WakeUp
  private var work = OperationList()
  private var workCount = 0
  private var results = OperationList()
  private var threads: [pthread_t] = []
  private var idle = 0
  private var ownerSleeps = false
  private var isSignalled = false
  private var isStopping = false

  init(threadsMax: Int) throws(LinuxError) {
    self.threadsMax = threadsMax
    completed = try WakeUp()
    mutex = .allocate(capacity: 1)
    workArrived = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(workArrived, nil)
  }

  deinit {
    pthread_cond_destroy(workArrived)
    pthread_mutex_destroy(mutex)
    workArrived.deallocate()
    mutex.deallocate()
  }

  /// Readable when a result arrived for an owner that sleeps.
  var descriptor: CInt { completed.descriptor }

  /// Hands over operations whose steps are to be carried out; `list` is empty afterwards.
  /// - Returns: false if there is not one thread, nor can be: then the list is untouched.
  func submit(_ list: inout OperationList, count: Int) -> Bool {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    let missing = min(workCount + count - idle, threadsMax - threads.count)
    for _ in 0..<max(0, missing) where !startThread() { break }
    if threads.isEmpty { return false }
    work.append(contentsOf: &list)
    workCount += count
    for _ in 0..<min(count, idle) { pthread_cond_signal(workArrived) }
    return true
  }

  /// Takes what is carried out.
  /// - Parameter sleeping: if nothing is, the owner is going to wait for the descriptor.
  func takeResults(sleeping: Bool) -> OperationList {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    if isSignalled {
      completed.clear()
      isSignalled = false
    }
    let taken = results
    results = OperationList()
    ownerSleeps = sleeping && taken.first == nil
    return taken
  }

  /// Lets the threads end, and waits until they have; what they are at is carried out first.
  func stop() {
    pthread_mutex_lock(mutex)
    isStopping = true
    pthread_cond_broadcast(workArrived)
    let ending = threads
    threads = []
    pthread_mutex_unlock(mutex)
    for thread in ending { pthread_join(thread, nil) }
  }

  /// Under the mutex. Signals are for other threads.
  private func startThread() -> Bool {
    var all = sigset_t()
    var former = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &former)
    defer { pthread_sigmask(SIG_SETMASK, &former, nil) }
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, Limits.threadStackBytes)
    var thread = pthread_t()
    let pool = Unmanaged.passRetained(self)
    let code = pthread_create(
      &thread, &attributes,
      { argument in
        if let argument { Unmanaged<WorkerPool>.fromOpaque(argument).takeRetainedValue().carryOut() }
        return nil
      }, pool.toOpaque())
    guard code == 0 else {
      pool.release()
      return false
    }
    threads.append(thread)
    return true
  }

  private func carryOut() {
    pthread_mutex_lock(mutex)
    while true {
      while work.first == nil, !isStopping {
        idle += 1
        pthread_cond_wait(workArrived, mutex)
        idle -= 1
      }
      guard let operation = work.popFirst() else { break }
      workCount -= 1
      pthread_mutex_unlock(mutex)
      operation.pointee.result = operation.pointee.step.execute()
      pthread_mutex_lock(mutex)
      results.append(operation)
      if ownerSleeps, !isSignalled {
        isSignalled = true
        completed.wake()
      }
    }
    pthread_mutex_unlock(mutex)
  }
}

extension Limits {
  /// The most threads one engine has.
  static let threadsMax = 16
  /// A worker calls the kernel and little else.
  static let threadStackBytes = 256 << 10
}
