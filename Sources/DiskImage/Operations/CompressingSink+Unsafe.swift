// Clusters compressed by every processor.
import BlockIO
import Dispatch

/// Takes the contents into a new qcow2 file, compressed: gathers clusters, compresses them side by side, and
/// appends them in their order, so that the file is the same whatever the number of processors.
final class CompressingSink: CopySink {
  private let disk: QCOW2.Disk
  private let method: CompressedCluster.Method
  private let level: Int32
  private let clusterSize: Int
  private let capacity: Int
  /// The gathered clusters, and where each belongs.
  private var bytes: [UInt8] = []
  private var offsets: [UInt64] = []

  init(_ disk: QCOW2.Disk, method: CompressedCluster.Method, level: Int32) {
    self.disk = disk
    self.method = method
    self.level = level
    clusterSize = Int(disk.clusterSize)
    capacity = max(4, Limits.compressionBatchBytes / clusterSize)
    bytes.reserveCapacity(capacity * clusterSize)
  }

  func write(_ source: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
    var done = 0
    while done < source.count {
      let position = offset + UInt64(done)
      let cluster = position / UInt64(clusterSize) * UInt64(clusterSize)
      let start = Int(position - cluster)
      let count = min(source.count - done, clusterSize - start)
      if offsets.last != cluster {
        if offsets.count == capacity { try finish() }
        offsets.append(cluster)
        bytes.append(contentsOf: repeatElement(0, count: clusterSize))
      }
      let target = (offsets.count - 1) * clusterSize + start
      bytes.withUnsafeMutableBytes {
        UnsafeMutableRawBufferPointer(rebasing: $0[target..<target + count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[done..<done + count]))
      }
      done += count
    }
  }

  /// What nobody wrote is zeros.
  func zero(_ range: Range<UInt64>) {}

  /// Stores what is gathered.
  func finish() throws(DiskImageError) {
    let (count, size, method, level) = (offsets.count, clusterSize, method, level)
    var compressed = [[UInt8]?](repeating: nil, count: count)
    bytes.withUnsafeBytes { source in
      compressed.withUnsafeMutableBufferPointer { results in
        // SAFETY: each iteration reads its own cluster and writes its own element; all end before the call
        // returns.
        nonisolated(unsafe) let (source, results) = (source, results)
        DispatchQueue.concurrentPerform(iterations: count) { index in
          let cluster = UnsafeRawBufferPointer(rebasing: source[index * size..<(index + 1) * size])
          results[index] = QCOW2.Compressor.compress(cluster, method: method, level: level)
        }
      }
    }
    let plain = ImageSink(disk, isFresh: true)
    for (index, offset) in offsets.enumerated() {
      if let stored = compressed[index] {
        try disk.appendCompressed(at: offset, stored)
      } else {
        // It does not get smaller. The last cluster may reach beyond the disk.
        let end = min(size, Int(min(UInt64(size), disk.size - offset)))
        try bytes.withUnsafeBufferPointer { (all) throws(DiskImageError) in
          let cluster = UnsafeBufferPointer(rebasing: all[index * size..<index * size + end])
          try plain.write(UnsafeRawBufferPointer(cluster), at: offset)
        }
      }
    }
    bytes.removeAll(keepingCapacity: true)
    offsets.removeAll(keepingCapacity: true)
  }
}
