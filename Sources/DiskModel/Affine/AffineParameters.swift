// The numbers of an affine model.
package import Simulation

/// `latency`, `bandwidth`, `servers`, and a latency of its own for each operation that is given one.
package struct AffineParameters: ModelParameters {
  package static let kind = "affine"
  /// A server has eight bytes of state.
  private static let serversMax = 65_536

  package let latencies: OperationTable<SimulationDuration>
  /// Bytes per second of simulated time; nil costs nothing.
  package let bandwidth: UInt64?
  /// How many requests are served at a time, the others waiting in their order; nil serves all at once.
  package let servers: Int?

  package init(latency: SimulationDuration, bandwidth: UInt64? = nil, servers: Int? = nil) {
    latencies = OperationTable(repeating: latency)
    self.bandwidth = bandwidth
    self.servers = servers
  }

  package init(_ reader: ParameterReader) throws(DiskModelError) {
    var latencies = OperationTable(
      repeating: try reader.required("latency", reader.duration("latency")))
    for operation in ModelRequest.Operation.allCases {
      if let own = try reader.duration(operation.key) { latencies[operation] = own }
    }
    self.latencies = latencies
    // Times that do not fit are for ever there.
    bandwidth = try reader.bandwidth("bandwidth", from: 1)
    servers = try reader.integer("servers", in: 1...Self.serversMax)
    try reader.finish()
  }

  package func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)? {
    AffineModel(self)
  }
}

/// One value for each operation.
package struct OperationTable<Value: Sendable>: Sendable {
  private var read: Value
  private var write: Value
  private var flush: Value
  private var discard: Value
  private var writeZeroes: Value

  package init(repeating value: Value) {
    read = value
    write = value
    flush = value
    discard = value
    writeZeroes = value
  }

  package subscript(operation: ModelRequest.Operation) -> Value {
    get {
      switch operation {
      case .read: read
      case .write: write
      case .flush: flush
      case .discard: discard
      case .writeZeroes: writeZeroes
      }
    }
    set {
      switch operation {
      case .read: read = newValue
      case .write: write = newValue
      case .flush: flush = newValue
      case .discard: discard = newValue
      case .writeZeroes: writeZeroes = newValue
      }
    }
  }

  /// In the order of the operations.
  package var all: [Value] { [read, write, flush, discard, writeZeroes] }
}
