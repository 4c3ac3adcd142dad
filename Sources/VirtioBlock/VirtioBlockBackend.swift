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

  /// What has to be remembered of a chain until its answer: by head, in a table per ring.
  private struct Slot {
    var status: UnsafeMutableRawPointer?
    var written: UInt32 = 0
  }
  private var slots: [Slot] = []
  private var completions: [BlockCompletion] = []

  package init(device: Device, clock: any Clock) {
    self.device = device
    self.clock = clock
  }

  /// Says whom to serve, before anything arrives from there.
  package func attach(_ session: Session) {
    self.session = session
    endedAbruptly = false
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

  package var configurationSpace: [UInt8] { makeConfigurationSpace(size: device.size) }

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
    guard let header = VirtioBlockHeader(chain), let status = chain.lastWritable else {
      queue.complete(head: chain.head, written: 0)
      return
    }
    chain.removeReadablePrefix(VirtioBlockHeader.byteCount)
    chain.removeWritableSuffix(1)
    if Int(chain.head) >= slots.count {
      slots.append(contentsOf: repeatElement(Slot(), count: Int(chain.head) + 1 - slots.count))
    }
    slots[Int(chain.head)] = Slot(status: status, written: UInt32(clamping: chain.writableCount + 1))
    switch header.kind {
    case .read:
      submit(.read, header.sector, UnsafeBufferPointer(chain.writable), chain.writableCount, chain, now)
    case .write:
      submit(.write, header.sector, UnsafeBufferPointer(chain.readable), chain.readableCount, chain, now)
    case .flush:
      device.submit(
        BlockRequest(operation: .flush, offset: 0, length: 0, tag: UInt64(chain.head)),
        data: UnsafeBufferPointer(start: nil, count: 0), at: now, into: &completions)
    case .discard: submitRange(.discard, chain, now)
    case .writeZeroes: submitRange(.writeZeroes, chain, now)
    case .identify: identify(chain)
    case nil: refuse(chain, .unsupported)
    }
  }

  private func submit(
    _ operation: BlockRequest.Operation, _ sector: UInt64, _ data: UnsafeBufferPointer<iovec>, _ count: Int,
    _ chain: Chain, _ now: SimulationTime
  ) {
    let (offset, overflow) = sector.multipliedReportingOverflow(by: Limits.sectorBytes)
    guard !overflow, count % Int(Limits.sectorBytes) == 0 else { return refuse(chain, .ioError) }
    device.submit(
      BlockRequest(operation: operation, offset: offset, length: UInt64(count), tag: UInt64(chain.head)),
      data: data, at: now, into: &completions)
  }

  private func submitRange(_ operation: BlockRequest.Operation, _ chain: Chain, _ now: SimulationTime) {
    guard let segment = VirtioBlockSegment(chain) else { return refuse(chain, .ioError) }
    let known: UInt32 = operation == .writeZeroes ? 1 : 0
    guard segment.flags & ~known == 0 else { return refuse(chain, .unsupported) }
    let (offset, overflow) = segment.sector.multipliedReportingOverflow(by: Limits.sectorBytes)
    guard !overflow, segment.sectors <= Limits.rangeSectorsMax else { return refuse(chain, .ioError) }
    device.submit(
      BlockRequest(
        operation: operation, offset: offset, length: UInt64(segment.sectors) * Limits.sectorBytes,
        mayUnmap: segment.flags & 1 != 0, tag: UInt64(chain.head)),
      data: UnsafeBufferPointer(start: nil, count: 0), at: now, into: &completions)
  }

  /// The disk's name, NUL-padded, cut to what fits.
  private func identify(_ chain: Chain) {
    var bytes = Array(device.name.utf8.prefix(Limits.identityBytes))
    bytes.append(contentsOf: repeatElement(0, count: Limits.identityBytes - bytes.count))
    _ = bytes.withUnsafeBytes { chain.copyWritable($0, at: 0) }
    completions.append(BlockCompletion(tag: UInt64(chain.head), status: .ok))
  }

  private func refuse(_ chain: Chain, _ status: BlockStatus) {
    completions.append(BlockCompletion(tag: UInt64(chain.head), status: status))
  }

  private func answer(_ queue: Virtqueue) {
    for completion in completions {
      let slot = slots[Int(completion.tag)]
      slot.status?.storeBytes(of: completion.status.rawValue, as: UInt8.self)
      queue.complete(head: UInt16(completion.tag), written: slot.written)
    }
    completions.removeAll(keepingCapacity: true)
  }
}
