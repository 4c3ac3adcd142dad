// Who copies large transfers through the page cache.

/// Divides the copying of large transfers between the owner of a ring and the ring's workers, and between one
/// run and the next.
///
/// What is in the page cache is copied by the processor that enters the ring, one transfer after the other.
/// So workers take some large reads, as long as the owner has others to copy meanwhile: a third more a
/// second, for a quarter more processor time each (128 KiB, depth 8, two processors; measured). They take no
/// writes, which the file's lock keeps one at a time: those cost twice as much then, and gain nothing.
///
/// And a run leaves some for the next one: the owner gives out the first answers, and its peer asks for more
/// while the rest is copied, where they would take turns otherwise (a tenth more a second).
struct CopyShare {
  /// How many transfers are with workers.
  private var handedOver = 0
  private var own = 0
  private var ownMax = 0

  /// A run begins to hand out operations.
  mutating func begin(underWay: Int) {
    own = 0
    ownMax = max(Limits.ownCopiesMin, underWay / 2)
  }

  /// Whether the owner has copied as much as the workers did meanwhile, or half of what there is.
  var isEnough: Bool { own >= (handedOver > 0 ? Limits.handedOverMax : ownMax) }

  /// Whether a step through the page cache is for a worker.
  /// - Parameter othersWait: there is another operation to begin.
  mutating func handsOver(_ kind: Step.Kind, bytes: UInt64, othersWait: Bool) -> Bool {
    guard bytes >= Limits.largeCopyBytes else { return false }
    guard kind == .read, othersWait, handedOver < Limits.handedOverMax else {
      own += 1
      return false
    }
    handedOver += 1
    return true
  }

  /// What was handed over is back.
  mutating func workerIsDone() { handedOver -= 1 }
}

extension Limits {
  /// This takes longer to copy than to hand over.
  static let largeCopyBytes: UInt64 = 64 << 10
  /// The most transfers that workers have at a time; a guest wants processors, too.
  static let handedOverMax = 3
  /// So many copies at least go out together: to tell the peer takes 3 µs.
  static let ownCopiesMin = 4
}
