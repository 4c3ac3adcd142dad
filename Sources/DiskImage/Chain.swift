// Images upon images.
import Linux

/// The files that were opened on the way down a chain of backing images; it has an end, and no loop.
struct Chain {
  private var identities: [FileIdentity] = []

  /// The chain with one more file, which need not be open yet: opening it a second time would mislead.
  func adding(_ identity: FileIdentity, path: String) throws(DiskImageError) -> Chain {
    guard !identities.contains(identity) else { throw .backingLoop(path: path) }
    guard identities.count < Limits.chainLengthMax else { throw .chainTooLong(path: path) }
    var longer = self
    longer.identities.append(identity)
    return longer
  }
}
