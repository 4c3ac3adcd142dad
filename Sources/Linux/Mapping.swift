// The owner of a memory mapping.
import CLinux
import Glibc

/// Owns a range of mapped memory and unmaps it.
package struct Mapping: ~Copyable {
  /// The first byte. SAFETY: valid for `count` bytes as long as the owner lives.
  package let base: UnsafeMutableRawPointer
  /// Length in bytes.
  package let count: Int

  /// Maps `count` bytes of a file from its start, readable and writable, shared with whoever maps it too.
  package init(sharing descriptor: borrowing Descriptor, count: Int) throws(LinuxError) {
    try self.init(sharing: descriptor.rawValue, count: count)
  }

  /// As above, of a descriptor that somebody else owns; the mapping outlives the descriptor.
  package init(sharing descriptor: CInt, count: Int) throws(LinuxError) {
    guard count > 0, let base = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
      base != MAP_FAILED
    else { throw LinuxError("mmap", "\(count) bytes", code: count > 0 ? errno : EINVAL) }
    self.base = base
    self.count = count
  }

  /// Maps `count` bytes of zeros that cost no memory until they are touched, and then a page each.
  package init(zeroed count: Int) throws(LinuxError) {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard count > 0, let base = mmap(nil, count, PROT_READ | PROT_WRITE, flags, -1, 0), base != MAP_FAILED
    else { throw LinuxError("mmap", "\(count) bytes", code: count > 0 ? errno : EINVAL) }
    self.base = base
    self.count = count
    // Advice only: a kernel without huge pages refuses it, and has nothing to be told.
    _ = madvise(base, count, MADV_NOHUGEPAGE)
  }

  /// Gives the pages of an `init(zeroed:)` mapping back: they are zeros again, and cost nothing.
  /// - Parameter range: in bytes, on page boundaries.
  package func release(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    _ = madvise(base + range.lowerBound, range.count, MADV_DONTNEED)
  }

  /// Makes holes of the pages of a file that is shared (`MADV_REMOVE`): they are zeros again, for everybody.
  /// - Parameter range: in bytes, on page boundaries.
  package func punch(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    _ = madvise(base + range.lowerBound, range.count, MADV_REMOVE)
  }

  deinit { munmap(base, count) }
}

/// An unnamed file in memory whose size is sealed, so that whoever maps it cannot be made to fault.
package func makeSealedMemory(named name: String, count: Int) throws(LinuxError) -> Descriptor {
  let descriptor = Descriptor(
    owning: try retrying("memfd_create", name) { CLinux_memfd_create_sealable(name) })
  _ = try retrying("ftruncate", name) { ftruncate(descriptor.rawValue, count) }
  _ = try retrying("fcntl", "F_ADD_SEALS") { CLinux_seal_size(descriptor.rawValue) }
  return descriptor
}

/// Length in bytes of an open file; 0 if the kernel does not tell.
package func fileSize(_ descriptor: borrowing Descriptor) -> Int {
  var status = stat()
  return fstat(descriptor.rawValue, &status) == 0 ? Int(status.st_size) : 0
}
