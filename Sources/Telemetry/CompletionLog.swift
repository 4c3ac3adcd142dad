// What every disk did, in order, as one number.
package import Simulation

/// The log of completed requests of a run, kept as a digest: two runs are the same if their digests are.
///
/// One record of 48 bytes, little-endian, for each completion, in the order of completion:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | simulated time of completion, ns |
/// | 8 | 8 | simulated time of submission, ns |
/// | 16 | 8 | sequence number of the request on its disk |
/// | 24 | 8 | offset on the disk, bytes |
/// | 32 | 8 | length, bytes |
/// | 40 | 4 | the disk's number in the run |
/// | 44 | 2 | operation |
/// | 46 | 2 | status |
package final class CompletionLog {
  package struct Record {
    package var completed: SimulationTime
    package var submitted: SimulationTime
    package var sequence: UInt64
    package var offset: UInt64
    package var length: UInt64
    package var disk: UInt32
    package var operation: UInt16
    package var status: UInt16

    package init(
      completed: SimulationTime, submitted: SimulationTime, sequence: UInt64, offset: UInt64, length: UInt64,
      disk: UInt32, operation: UInt16, status: UInt16
    ) {
      self.completed = completed
      self.submitted = submitted
      self.sequence = sequence
      self.offset = offset
      self.length = length
      self.disk = disk
      self.operation = operation
      self.status = status
    }
  }

  private let stream = Digest()
  package private(set) var count: UInt64 = 0

  package init() {}

  package func append(_ record: Record) {
    withUnsafeTemporaryAllocation(byteCount: 48, alignment: 8) { bytes in
      bytes.storeBytes(of: record.completed.nanoseconds.littleEndian, toByteOffset: 0, as: UInt64.self)
      bytes.storeBytes(of: record.submitted.nanoseconds.littleEndian, toByteOffset: 8, as: UInt64.self)
      bytes.storeBytes(of: record.sequence.littleEndian, toByteOffset: 16, as: UInt64.self)
      bytes.storeBytes(of: record.offset.littleEndian, toByteOffset: 24, as: UInt64.self)
      bytes.storeBytes(of: record.length.littleEndian, toByteOffset: 32, as: UInt64.self)
      bytes.storeBytes(of: record.disk.littleEndian, toByteOffset: 40, as: UInt32.self)
      bytes.storeBytes(of: record.operation.littleEndian, toByteOffset: 44, as: UInt16.self)
      bytes.storeBytes(of: record.status.littleEndian, toByteOffset: 46, as: UInt16.self)
      stream.update(UnsafeRawBufferPointer(bytes))
    }
    count += 1
  }

  /// 32 hexadecimal digits over all records so far.
  package var digest: String { stream.hexadecimal }
}
