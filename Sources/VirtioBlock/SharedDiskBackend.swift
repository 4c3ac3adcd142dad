// A disk in real time, as its driver sees it.
package import BlockDevice
package import VhostUser

/// What a session asks of a disk that its rings' own threads serve.
package final class SharedDiskBackend: DeviceBackend {
  package let device: SharedDevice
  package let queueCount: Int
  /// Who is served; one at a time. Let go when it ends.
  package private(set) var session: Session?
  /// Called when the session is over.
  package var onSessionEnd: ((_ reason: String?) -> Void)?

  private let isCachedAtFirst: Bool
  private let makeHome: (Int) -> any RingHome
  private var homes: [(any RingHome)?]
  private var features: UInt64 = 0
  /// What the driver wrote to the configuration space; it counts only if it took the feature for that.
  private var isCached: Bool
  /// Discarding was offered and does not work: what the space says from then on.
  private var unmaps: Bool

  /// - Parameters:
  ///   - isCached: whether writes may stay volatile until a FLUSH, unless the driver says otherwise.
  ///   - makeHome: gives the place where a ring is served; asked once for each ring that is used.
  package init(
    device: SharedDevice, queueCount: Int, isCached: Bool, makeHome: @escaping (Int) -> any RingHome
  ) {
    self.device = device
    self.queueCount = queueCount
    isCachedAtFirst = isCached
    self.isCached = isCached
    self.makeHome = makeHome
    unmaps = device.offersDiscard
    homes = [(any RingHome)?](repeating: nil, count: queueCount)
    device.isWriteThrough = !isCached
  }

  /// Says whom to serve, before anything arrives from there.
  package func attach(_ session: Session) { self.session = session }

  package var deviceFeatures: UInt64 {
    var features =
      VirtioBlockFeature.segmentCountMax | VirtioBlockFeature.blockSize | VirtioBlockFeature.flush
      | VirtioBlockFeature.topology | VirtioBlockFeature.configurableCache
    if queueCount > 1 { features |= VirtioBlockFeature.multipleQueues }
    if device.isReadOnly {
      features |= VirtioBlockFeature.readOnly
    } else {
      features |= VirtioBlockFeature.writeZeroes
      if unmaps { features |= VirtioBlockFeature.discard }
    }
    return features
  }

  package var configurationSpace: [UInt8] {
    VirtioBlockConfiguration(
      size: device.size, queueCount: UInt16(queueCount), segmentsMax: Limits.segmentsMaxInRealTime,
      isCached: isCached, unmaps: unmaps && device.offersDiscard
    ).bytes
  }

  package func writeConfiguration(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
    guard offset == Limits.cacheOffset, bytes.count == 1, bytes[0] <= 1 else { return false }
    isCached = bytes[0] == 1
    chooseDurability()
    return true
  }

  package func negotiated(features: UInt64, session: Session) {
    self.features = features
    if features == 0 {
      isCached = isCachedAtFirst
      unmaps = device.offersDiscard
    }
    chooseDurability()
  }

  /// Virtio 1.2 §5.2.6.2: a driver that knows neither FLUSH nor the cache's switch cannot ask for
  /// durability, and gets it with every write; one that has switched the cache off, too.
  private func chooseDurability() {
    let knowsFlush = features & VirtioBlockFeature.flush != 0
    device.isWriteThrough = features == 0 ? !isCachedAtFirst : !knowsFlush || !isCached
  }

  package func queueNotified(_ queue: Virtqueue, session: Session) {}

  package func queueStopping(_ queue: Virtqueue, session: Session) {}

  package func home(ofQueue index: Int) -> (any RingHome)? {
    if let home = homes[index] { return home }
    let home = makeHome(index)
    homes[index] = home
    return home
  }

  package func sessionEnded(_ session: Session, reason: String?) {
    self.session = nil
    features = 0
    isCached = isCachedAtFirst
    unmaps = device.offersDiscard
    device.isWriteThrough = !isCached
    onSessionEnd?(reason)
  }

  /// The disk has another size, or discards no more: the driver should look.
  package func configurationChanged() { session?.configurationChanged() }
}
