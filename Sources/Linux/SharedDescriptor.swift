// A descriptor with a lifetime that nobody in particular ends.

/// Closes a descriptor when the last of those who use it has gone.
package final class SharedDescriptor: Sendable {
  private let descriptor: Descriptor

  package init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

  package var rawValue: CInt { descriptor.rawValue }
}
