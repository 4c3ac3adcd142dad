// Who copies what is in the page cache, and how much at a time.

/// Divides the copying of what is in the page cache between one run and the next, and between the owner of a
/// ring and the ring's workers.
///
/// It is copied by the processor that enters the ring, one transfer after the other. A run does half of
/// what is under way and leaves the rest for the next one: the owner gives out the first answers, and its
/// peer uses them and asks for more while the rest is copied. Otherwise the two would take turns (half as
/// many again a second, 4 KiB at a depth of 8 and 32; measured).
///
/// Workers take some large reads, as long as the owner has others to copy meanwhile: a third more a second,
/// for a quarter more processor time each (128 KiB, depth 8, two processors; measured). They take no writes,
/// which the file's lock keeps one at a time: those cost twice as much then, and gain nothing.
struct CopyShare {
  /// How many transfers are with workers.
  private var handedOver = 0
  private var copied = 0
  private var copiedMax = 0
  /// How many of the copied ones a worker could have taken.
  private var large = 0

  /// A run begins to hand out operations.
  mutating func begin(underWay: Int) {
    copied = 0
    large = 0
    copiedMax = max(Limits.copiesMin, underWay / 2)
  }

  /// Whether the owner has copied half of what there is, or as much as the workers did meanwhile.
  var isEnough: Bool { copied >= copiedMax || (handedOver > 0 && large >= Limits.handedOverMax) }

  /// Whether a step through the page cache is for a worker; otherwise the owner copies it.
  /// - Parameter othersWait: there is another operation to begin.
  mutating func handsOver(_ kind: Step.Kind, bytes: UInt64, othersWait: Bool) -> Bool {
    let isLarge = bytes >= Limits.largeCopyBytes
    if isLarge, kind == .read, othersWait, handedOver < Limits.handedOverMax {
      handedOver += 1
      return true
    }
    copied += 1
    if isLarge { large += 1 }
    return false
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
  static let copiesMin = 2
}
