// Requests of a disk with faults.
import BlockIO
import DiskImage
package import Glibc
package import Simulation

extension FaultyDisk {
  /// What became of a request.
  package struct Verdict {
    package var status = BlockStatus.ok
    /// An `errno`, or 0.
    package var code: CInt = 0
    /// Whether it is never answered.
    package var isHung = false
    /// Whether the disk is gone, so that the model has nothing to say.
    package var isImmediate = false
    /// Something that happened to the disk as a whole before it.
    package var event: Event?
    var slowness: Slowness?
  }

  /// Takes a request that lies within the disk, and moves its data as far as faults let it.
  /// - Parameter isForced: whether it is durable when it completes.
  package func take(
    _ request: BlockRequest, data: UnsafeBufferPointer<iovec>, sequence: UInt64, at now: SimulationTime,
    isForced: Bool
  ) -> Verdict {
    welcome()
    if let refusal { return refusal }
    let records = decide(request, sequence, now)
    var verdict = Verdict()
    var effects = FaultEffects()
    for record in records {
      if record.kind.isFinal, verdict.event == nil,
        let index = faults.firstIndex(where: { $0.fault.name == record.fault })
      {
        verdict.event = happen(index, at: now, request: record)
      } else {
        effects.add(record, to: request, size: image.size)
        note(record)
      }
    }
    if let event = verdict.event {
      verdict = refusal ?? verdict
      verdict.event = event
      return verdict
    }
    verdict.slowness = effects.slowness
    verdict.isHung = effects.isHung
    guard !effects.isHung else { return verdict }
    if let code = effects.code {
      (verdict.status, verdict.code) = (.ioError, code)
      return verdict
    }
    do throws(DiskImageError) {
      try move(request, data, sequence, effects, isForced: isForced, at: now)
    } catch {
      report(
        "disk '\(name)': \(request.operation) of \(request.length) bytes at \(request.offset) failed: "
          + "\(error)"
      )
      verdict.status = .ioError
    }
    return verdict
  }

  /// What every request hears when the disk is gone.
  private var refusal: Verdict? {
    var verdict = Verdict()
    verdict.isImmediate = true
    switch state {
    case .works: return nil
    case .off(.never): verdict.isHung = true
    case .off(.error), .removed: (verdict.status, verdict.code) = (.ioError, ENODEV)
    }
    return verdict
  }

  // MARK: - Decisions

  /// Asks every fault, whatever the others say: what one decides must not move another.
  private func decide(
    _ request: BlockRequest, _ sequence: UInt64, _ now: SimulationTime
  ) -> [FaultRecord] {
    var records: [FaultRecord] = []
    for index in faults.indices {
      let fault = faults[index].fault
      let parameters: [FaultRecord.Parameter]?
      if let replay {
        parameters = replay.decision(fault.name, sequence)?.parameters
      } else {
        parameters = decide(index, request, sequence, now)
      }
      guard let parameters else { continue }
      var record = FaultRecord(
        time: now, disk: name, request: sequence, fault: fault.name, kind: fault.kind)
      (record.operation, record.offset, record.length) = (request.operation, request.offset, request.length)
      record.parameters = parameters
      records.append(record)
    }
    return records
  }

  /// - Returns: nil if it does not happen.
  private func decide(
    _ index: Int, _ request: BlockRequest, _ sequence: UInt64, _ now: SimulationTime
  ) -> [FaultRecord.Parameter]? {
    switch faults[index].fault.kind {
    case .stall:
      faults[index].count(at: now)
      return nil
    case .latentErrors:
      faults[index].count(at: now)
      guard request.operation == .read, request.length > 0,
        let sector = faults[index].unreadableSector(sectors(of: request), at: now)
      else { return nil }
      return [.init("sectors", [sector])]
    case .noSpace:
      faults[index].count(at: now)
      guard faults[index].activeWindow(at: now) != nil, lacksSpace(request, faults[index].fault.space) else {
        return nil
      }
      return []
    default:
      guard faults[index].strikes(request, sequence, at: now) else { return nil }
      return draw(faults[index], request, sequence)
    }
  }

  /// The numbers of a decision; nil if there is no way to do it.
  private func draw(
    _ armed: ArmedFault, _ request: BlockRequest, _ sequence: UInt64
  ) -> [FaultRecord.Parameter]? {
    var random = armed.stream("draws", sequence)
    switch armed.fault.kind {
    case .misdirectedWrite:
      guard request.length > 0, request.length < image.size else { return nil }
      // One of all other places.
      let places = (image.size - request.length) / Limits.faultSector
      guard places > 0 else { return nil }
      var place = random.below(places)
      if place * Limits.faultSector >= request.offset { place += 1 }
      return [.init("to", [place * Limits.faultSector])]
    case .corruptWrite, .bitRot:
      guard request.length > 0 else { return nil }
      return [.init("flips", (0..<armed.fault.bits).map { _ in random.below(request.length * 8) })]
    case .slow: return [.init("slow", [armed.fault.factor, armed.fault.extra.nanoseconds])]
    default: return []
    }
  }

  private func sectors(of request: BlockRequest) -> Range<UInt64> {
    let end = (request.offset + request.length + Limits.faultSector - 1) / Limits.faultSector
    return request.offset / Limits.faultSector..<end
  }

  // MARK: - Space

  private func lacksSpace(_ request: BlockRequest, _ space: UInt64) -> Bool {
    let allocates = request.operation == .write || (request.operation == .writeZeroes && !request.mayUnmap)
    guard allocates, let usedPages else { return false }
    let pages = pages(of: request.offset, request.length)
    let new = (pages.upperBound - pages.lowerBound) - usedPages.count(in: pages)
    return new > 0 && usedPageCount + new > space / Limits.faultPage
  }

  private func pages(of offset: UInt64, _ length: UInt64) -> Range<UInt64> {
    offset / Limits.faultPage..<(offset + length + Limits.faultPage - 1) / Limits.faultPage
  }

  /// Space that a change takes, or gives back.
  private func account(_ content: VolatileWrite.Content, _ range: Range<UInt64>) {
    guard let used = usedPages else { return }
    switch content {
    case .bytes, .zeroes(unmap: false):
      let pages = pages(of: range.lowerBound, range.upperBound - range.lowerBound)
      usedPageCount += pages.upperBound - pages.lowerBound - used.count(in: pages)
      usedPages?.set(pages, to: true)
    case .zeroes(unmap: true), .discarded:
      let first = (range.lowerBound + Limits.faultPage - 1) / Limits.faultPage
      let pages = first..<max(first, range.upperBound / Limits.faultPage)
      usedPageCount -= used.count(in: pages)
      usedPages?.set(pages, to: false)
    }
  }

  // MARK: - Bytes

  private func move(
    _ request: BlockRequest, _ data: UnsafeBufferPointer<iovec>, _ sequence: UInt64, _ effects: FaultEffects,
    isForced: Bool, at now: SimulationTime
  ) throws(DiskImageError) {
    let end = request.offset + request.length
    switch request.operation {
    case .read: return try read(request, data, sequence, effects)
    case .flush: return try flush(sequence, lies: effects.lies)
    case .write:
      guard !effects.isLost else { return }
      var bytes = data.bytes
      for bit in effects.flips { bytes[Int(bit / 8)] ^= 1 << UInt8(bit % 8) }
      let offset = effects.target ?? request.offset
      try change(.bytes(bytes), offset..<offset + request.length, sequence, at: now)
    case .discard: try change(.discarded, request.offset..<end, sequence, at: now)
    case .writeZeroes:
      try change(.zeroes(unmap: request.mayUnmap), request.offset..<end, sequence, at: now)
    }
    if isForced, cache == nil { try image.flush() }
  }

  private func read(
    _ request: BlockRequest, _ data: UnsafeBufferPointer<iovec>, _ sequence: UInt64, _ effects: FaultEffects
  ) throws(DiskImageError) {
    try image.read(at: request.offset, into: data)
    cache?.overlay(data, from: request.offset, count: request.length)
    if effects.isStale { history?.overlay(data, from: request.offset, count: request.length) }
    for bit in effects.flips { data.flip(bit) }
  }

  private func change(
    _ content: VolatileWrite.Content, _ range: Range<UInt64>, _ sequence: UInt64, at now: SimulationTime
  ) throws(DiskImageError) {
    guard !range.isEmpty else { return }
    if case .bytes = content { try remember(range) }
    if cache == nil {
      try image.apply(content, range)
    } else {
      cache?.append(VolatileWrite(sequence: sequence, range: range, content: content, completion: nil))
      persist(cache?.takeExcess() ?? [])
    }
    account(content, range)
    let sectors =
      range.lowerBound / Limits.faultSector..<(range.upperBound + Limits.faultSector - 1) / Limits.faultSector
    for index in faults.indices where faults[index].fault.kind == .latentErrors {
      faults[index].heal(sectors, at: now)
    }
  }

  /// Keeps what a write is about to replace.
  private func remember(_ range: Range<UInt64>) throws(DiskImageError) {
    guard history != nil else { return }
    let pages = pages(of: range.lowerBound, range.upperBound - range.lowerBound)
    for page in pages {
      let offset = page * Limits.faultPage
      let count = min(Limits.faultPage, image.size - offset)
      let bytes = try image.bytes(at: offset, count: Int(count)) { [cache] parts in
        cache?.overlay(parts, from: offset, count: count)
      }
      history?.remember(page, bytes)
    }
  }
}
