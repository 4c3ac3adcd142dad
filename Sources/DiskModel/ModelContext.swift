// For which disk a model is made.
package import Simulation

/// What a model may know of its disk: how long it is, and where its random numbers come from.
package struct ModelContext: Sendable {
  /// In bytes.
  package var diskSize: UInt64
  /// The run's seed.
  package var seed: UInt64
  /// The disk's name, with its node's: another node or disk moves no stream of this one.
  package var name: String

  package init(diskSize: UInt64, seed: UInt64 = 0, name: String = "disk") {
    self.diskSize = diskSize
    self.seed = seed
    self.name = name
  }

  /// The numbers for one purpose: enabling another purpose moves none of them.
  package func stream(_ purpose: String) -> RandomStream {
    RandomStream(seed: seed, name: "\(name)/\(purpose)")
  }
}
