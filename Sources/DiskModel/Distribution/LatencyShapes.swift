// Distributions of latencies, one for each operation.
package import Simulation

/// What the operations take: `[read]`, `[write]`, `[flush]`, `[discard]` and `[write_zeroes]` with a
/// distribution each, or a time instead of the table; at the top one for all that have none of their own.
///
/// If there is none at the top, an operation without one takes that of writes, or else that of reads, or else
/// whatever there is.
package struct LatencyShapes: Sendable {
  package let byOperation: OperationTable<LatencyShape>

  /// - Throws: also if there is none at all.
  init(_ reader: ParameterReader) throws(DiskModelError) {
    let common = try LatencyShape(reader)
    var own = OperationTable<LatencyShape?>(repeating: nil)
    for operation in ModelRequest.Operation.allCases {
      let key = operation.key
      guard reader.hasTable(key) else {
        own[operation] = try reader.duration(key).map { .constant($0) }
        continue
      }
      guard let table = try reader.table(key) else { continue }
      let shape = try LatencyShape(table)
      try table.finish()
      own[operation] = try table.required("p50", shape)
    }
    let some = own.all.compactMap { $0 }.first
    guard let otherwise = common ?? own[.write] ?? some else {
      throw reader.error(
        "no latency: give 'latency', 'minimum' and 'mean', 'p50' and 'p99', or 'table', for all operations "
          + "or in [read] and [write]", key: "latency")
    }
    var all = OperationTable(repeating: otherwise)
    for operation in ModelRequest.Operation.allCases {
      if let shape = own[operation] { all[operation] = shape }
    }
    byOperation = all
  }
}

/// Draws latencies: one number of its stream for each request, whatever is drawn.
package struct LatencySource: Sendable {
  private let tables: [QuantileTable]
  /// Which table an operation has.
  private let table: OperationTable<Int>
  private var stream: RandomStream

  package init(_ shapes: LatencyShapes, stream: RandomStream) {
    var built: [(shape: LatencyShape, table: QuantileTable)] = []
    var table = OperationTable(repeating: 0)
    for operation in ModelRequest.Operation.allCases {
      let shape = shapes.byOperation[operation]
      if let index = built.firstIndex(where: { $0.shape == shape }) {
        table[operation] = index
      } else {
        table[operation] = built.count
        built.append((shape, QuantileTable(shape)))
      }
    }
    tables = built.map(\.table)
    self.table = table
    self.stream = stream
  }

  package mutating func draw(_ operation: ModelRequest.Operation) -> SimulationDuration {
    tables[table[operation]].value(at: stream.next())
  }

  /// No draw is less.
  package var minimum: SimulationDuration { tables.map(\.minimum).min() ?? .zero }
}
