// A failed system call, as a value.
import Glibc

/// A system call that failed: which one, on what, and why.
///
/// `description` is one lower-case line: `open '/a/b': No such file or directory`.
package struct LinuxError: Error, Equatable, CustomStringConvertible {
  /// The C function that failed.
  package let call: String
  /// What it was called on: a path, or a word that names the object.
  package let subject: String
  /// The value of `errno`.
  package let code: CInt

  package init(_ call: String, _ subject: String, code: CInt = errno) {
    self.call = call
    self.subject = subject
    self.code = code
  }

  /// The text of `strerror(3)` for the code.
  package var reason: String { String(cString: strerror(code)) }

  package var description: String {
    subject.isEmpty ? "\(call): \(reason)" : "\(call) '\(subject)': \(reason)"
  }
}

/// Repeats a call that a signal interrupted, and turns a negative result into an error.
@inline(__always)
package func retrying<Result: SignedInteger>(
  _ call: String, _ subject: @autoclosure () -> String, _ body: () -> Result
) throws(LinuxError) -> Result {
  while true {
    let result = body()
    if result >= 0 { return result }
    if errno != EINTR { throw LinuxError(call, subject()) }
  }
}
