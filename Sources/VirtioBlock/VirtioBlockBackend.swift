// The one adapter between rings and disks.
package import BlockDevice
import Glibc
package import Simulation
package import VhostUser

/// Serves a disk to the driver of a session: takes chains, makes requests of them, and puts the answers back.
///
/// A chain without a header or a status byte is returned unread; everything else gets a status. Requests that
/// the disk never sees (identity, unknown types, ranges beyond the end) are answered at once.
package final class VirtioBlockBackend: DeviceBackend {
  package let device: Device
  private let clock: any Clock
  /// Who is served; one at a time. Let go when it ends.
  package private(set) var session: Session?
  /// Whether the last session ended while its ring was running. A guest that powers off stops it first
  /// (Linux 6.12).
  package private(set) var endedAbruptly = false
  /// Called when the session is over.
  package var onSessionEnd: ((_ reason: String?) -> Void)?

  private var parser = VirtioBlockParser()
  private var open = OpenChains()
  private var completions: [BlockCompletion] = []

  package init(device: Device, clock: any Clock) {
    self.device = device
    self.clock = clock
  }

  /// Says whom to serve, before anything arrives from there.
  package func attach(_ session: Session) {
    self.session = session
    endedAbruptly = false
    device.attach()
  }

  // MARK: - What the device is

  package var queueCount: Int { 1 }

  package var deviceFeatures: UInt64 {
    var features =
      VirtioBlockFeature.segmentCountMax | VirtioBlockFeature.blockSize | VirtioBlockFeature.flush
      | VirtioBlockFeature.topology
    if device.isReadOnly {
      features |= VirtioBlockFeature.readOnly
    } else {
      features |= VirtioBlockFeature.discard | VirtioBlockFeature.writeZeroes
    }
    return features
  }

  package var configurationSpace: [UInt8] { VirtioBlockConfiguration(size: device.size).bytes }

  package func writeConfiguration(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool { false }

  package func negotiated(features: UInt64, session: Session) {
    // A driver that does not know FLUSH cannot ask for durability: it gets it with every write (virtio 1.2
    // §5.2.6.2).
    device.isWriteThrough = features != 0 && features & VirtioBlockFeature.flush == 0
  }

  // MARK: - Requests

  package func queueNotified(_ queue: Virtqueue, session: Session) {
    var now: SimulationTime?
    while let chain = queue.nextChain() {
      // Asked for once a kick: it may cost a message.
      let present = now ?? clock.now
      now = present
      take(chain, at: present, queue)
    }
    answer(queue)
    requestWake()
  }

  /// Puts back what is due at `now`, and calls the driver.
  package func advance(to now: SimulationTime) {
    guard let session else { return }
    let queue = session.virtqueue(0)
    device.advance(to: now, into: &completions)
    answer(queue)
    queue.publishAndSignal()
  }

  /// Nothing must touch the ring afterwards, so what waits for its time completes now.
  package func queueStopping(_ queue: Virtqueue, session: Session) {
    guard !session.isEnded else {
      endedAbruptly = true
      return device.forgetPending()
    }
    device.completePending(at: clock.now, into: &completions)
    answer(queue)
  }

  package func sessionEnded(_ session: Session, reason: String?) {
    device.forgetPending()
    self.session = nil
    onSessionEnd?(reason)
  }

  private func requestWake() {
    if let wake = device.nextWake { clock.requestWake(at: wake) }
  }

  private func take(_ chain: Chain, at now: SimulationTime, _ queue: Virtqueue) {
    var chain = chain
    switch parser.parse(&chain) {
    case .malformed: queue.complete(head: chain.head, written: 0)
    case .answer(let status): open.refuse(chain, status, in: queue)
    case .identify:
      chain.identify(as: device.name)
      open.refuse(chain, .ok, in: queue)
    case .requests:
      open.open(chain, answers: parser.requests.count)
      for request in parser.requests {
        device.submit(request, data: chain.data(for: request), at: now, into: &completions)
      }
    }
  }

  private func answer(_ queue: Virtqueue) {
    for completion in completions { open.close(completion, in: queue) }
    completions.removeAll(keepingCapacity: true)
  }
}
