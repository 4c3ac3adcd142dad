// How often each cluster of a file is referred to.
import BlockIO

extension QCOW2 {
  /// References counted by cluster, in pieces, so that memory grows with what is referred to.
  struct Census {
    let clusterBits: UInt64
    /// Length of the file: QEMU lets the last cluster be incomplete.
    private(set) var fileSize: UInt64
    private var places: [UInt64: Int] = [:]
    private var pieces: [[UInt32]] = []
    /// The numbers of the pieces that there are, in no order.
    private var numbers: [UInt64] = []
    private var last: (number: UInt64, place: Int)?

    private static let pieceBits: UInt64 = 10
    /// A gibibyte of counts.
    private static let piecesMax = 1 << 18

    init(clusterBits: UInt64, fileSize: UInt64) {
      self.clusterBits = clusterBits
      self.fileSize = fileSize
    }

    /// Counts a reference to each cluster of a range of the file.
    /// - Returns: whether the range is within the file.
    mutating func add(_ offset: UInt64, _ count: UInt64) throws(Defect) -> Bool {
      guard count > 0 else { return true }
      let (end, overflow) = offset.addingReportingOverflow(count)
      guard !overflow, end < fileSize || end - fileSize < 1 << clusterBits else { return false }
      for cluster in offset >> clusterBits...(end - 1) >> clusterBits { try add(cluster) }
      return true
    }

    private mutating func add(_ cluster: UInt64) throws(Defect) {
      let number = cluster >> Self.pieceBits
      let index = Int(cluster & (1 << Self.pieceBits - 1))
      let place: Int
      if let last, last.number == number {
        place = last.place
      } else if let known = places[number] {
        place = known
      } else {
        guard pieces.count < Self.piecesMax else { throw .checkTooLarge }
        place = pieces.count
        pieces.append([UInt32](repeating: 0, count: 1 << Int(Self.pieceBits)))
        places[number] = place
        numbers.append(number)
      }
      last = (number, place)
      // More references than that are as wrong as that many.
      if pieces[place][index] < .max { pieces[place][index] += 1 }
    }

    subscript(_ cluster: UInt64) -> UInt64 {
      guard let place = places[cluster >> Self.pieceBits] else { return 0 }
      return UInt64(pieces[place][Int(cluster & (1 << Self.pieceBits - 1))])
    }

    /// The file gets longer: up to so many bytes behind an offset.
    mutating func extend(by count: UInt64, from offset: UInt64) { fileSize = max(fileSize, offset + count) }

    /// Forgets the references to one cluster.
    mutating func clear(_ cluster: UInt64) {
      guard let place = places[cluster >> Self.pieceBits] else { return }
      pieces[place][Int(cluster & (1 << Self.pieceBits - 1))] = 0
    }

    /// Calls `body` for each cluster that is referred to, in the order of the file.
    func visit(_ body: (_ cluster: UInt64, _ count: UInt64) throws(DiskImageError) -> Void)
      throws(DiskImageError)
    {
      for number in numbers.sorted() {
        guard let place = places[number] else { continue }
        for index in pieces[place].indices where pieces[place][index] > 0 {
          try body(number << Self.pieceBits + UInt64(index), UInt64(pieces[place][index]))
        }
      }
    }
  }
}
