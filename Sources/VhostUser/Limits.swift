// The numbers that bound this module.

/// What a front-end can make us hold or do at most.
package enum Limits {
  /// Bytes of payload in one message (rust-vmm's limit; libvhost-user takes 272).
  package static let payloadBytes = 4096
  /// Descriptors with one message.
  package static let descriptorsPerMessage = 32
  /// Rings of one device: the index of SET_VRING_KICK is one byte.
  package static let queues = 256
  /// Descriptors in one ring (virtio 1.2 §2.7).
  package static let queueSize = 32768
  /// Entries of an indirect table, when the ring itself is shorter (as in QEMU).
  package static let indirectTable = 1024
  /// Pieces of host memory that a chain may have beyond its descriptors, because buffers cross regions.
  package static let extraPieces = 64
  /// Regions of guest memory: this many slots, of which SET_MEM_TABLE may fill `regionsPerTable`.
  package static let regions = 32
  /// Regions in one SET_MEM_TABLE.
  package static let regionsPerTable = 8
  /// Bytes of an inflight area, with what lies before it in its file.
  package static let inflightBytes: UInt64 = 1 << 32
  /// Bytes of a dirty log, with what lies before it in its file: 32 PiB of guest memory.
  package static let logBytes: UInt64 = 1 << 40
  /// Former memories that one ring may hold for the sake of requests under way.
  package static let retiredMemories = 4
  /// Bytes of configuration space.
  package static let configurationBytes = 256
  /// Messages of ours that a front-end may leave unanswered.
  package static let unansweredMessages = 1024
  /// Lines that one session may log; what comes after is counted.
  package static let logLines = 8
}
