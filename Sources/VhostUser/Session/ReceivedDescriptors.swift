// Descriptors that came with a message and have no owner yet.
import Glibc
import Linux

/// Owns the descriptors of the message that is being read, in order, and closes those that nobody takes.
struct ReceivedDescriptors: ~Copyable {
  private var values: [CInt] = []

  init() {}

  deinit { for value in values { close(value) } }

  var count: Int { values.count }

  /// The numbers, for a call that borrows them.
  var borrowed: [CInt] { values }

  mutating func append(_ descriptor: consuming Descriptor) { values.append(descriptor.release()) }

  /// Gives the first one away.
  mutating func takeFirst() -> Descriptor? {
    values.isEmpty ? nil : Descriptor(owning: values.removeFirst())
  }

  mutating func closeAll() {
    for value in values { close(value) }
    values.removeAll(keepingCapacity: true)
  }
}
