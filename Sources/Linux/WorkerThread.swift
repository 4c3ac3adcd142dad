// A thread of our own.
import CLinux
import Glibc

/// A thread that runs one closure, and that its owner waits for.
///
/// Signals are blocked in it: those of the process arrive at a signalfd (`Signals`).
package final class WorkerThread: @unchecked Sendable {
  // SAFETY: written by `init` and `join` only, and the owner calls `join`.
  private var thread: pthread_t?

  private final class Body {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  /// Starts the thread.
  /// - Parameter name: what `top` shows; the kernel keeps 15 bytes of it.
  package init(_ name: String, _ body: @escaping @Sendable () -> Void) throws(LinuxError) {
    var everything = sigset_t()
    var before = sigset_t()
    sigfillset(&everything)
    // What the guest's memory raises when it is cut short must arrive where it happens.
    for signal in [SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP] { sigdelset(&everything, signal) }
    pthread_sigmask(SIG_SETMASK, &everything, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(
      Body {
        CLinux_name_thread(name)
        body()
      })
    let code = pthread_create(
      &thread, nil,
      { pointer in
        guard let pointer else { return nil }
        Unmanaged<Body>.fromOpaque(pointer).takeRetainedValue().run()
        return nil
      }, argument.toOpaque())
    guard code == 0 else {
      argument.release()
      throw LinuxError("pthread_create", name, code: code)
    }
    self.thread = thread
  }

  /// Waits for the end of the closure. An owner that goes does the same.
  package func join() {
    guard let thread else { return }
    self.thread = nil
    pthread_join(thread, nil)
  }

  deinit { join() }
}
