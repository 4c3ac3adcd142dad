// A flash drive: what the parts do when, one event after the other.
package import Simulation

/// The model of a solid-state drive: channels, dies, firmware, write buffer and a page-mapped translation
/// layer.
///
/// Every stage of a request asks for its resource when its turn has come, and nothing is booked ahead. A
/// resource serves in the order of asking; what happens at the same time happens in the order in which it was
/// caused. A submission comes after everything else of its moment, so calls may be batched in any way.
package struct SSDModel: DiskModel {
  let parameters: SSDParameters
  let geometry: SSDGeometry
  /// Of a block as large as it is here.
  let eraseTime: UInt64

  var events: SSDEvents
  var requests = SlotPool<SSDRequest>()
  var operations = SlotPool<FlashOperation>()
  var waiters = SlotPool<UnitWaiter>()

  var link = TransferState()
  var channels: Table<TransferState>
  var dies: Table<DieState>
  let channelOfDie: Table<Int32>

  // The translation layer.
  /// Logical page to flash page; `noIndex` for none, with the topmost bit for one that waits in the buffer.
  var map: LazyTable
  /// Flash page to the logical page that was last written there.
  var reverse: LazyTable
  /// Flash pages that a logical page is at.
  var isValid: PageBits
  /// Program units that are open or not programmed yet. Their pages are read from the buffer.
  var isUnprogrammed: PageBits
  /// Valid pages by line.
  var valid: Table<UInt32>
  /// Reads of a victim's stripes on the way, and one while there are more to come.
  var readsLeft: Table<UInt32>
  var partitions: Table<SSDPartition>
  var mappedPages: UInt64 = 0
  var mapCache: MapCache?

  // The buffer, in pages.
  let bufferPages: UInt32
  /// No piece of a write asks for more: as much is free when every full unit is programmed.
  let segmentPages: UInt32
  var bufferUsed: UInt32 = 0
  /// Writes that wait for room, in order; whether the first of them has a piece on the link.
  var bufferQueue = SlotList()
  var isFirstArriving = false
  var bufferFullSince = UInt64.max

  // Flushes.
  var flushes = FlushState()

  /// Requests in the drive whose end is not known, and the latest end that is.
  var unresolved = 0
  var lastEnd: UInt64 = 0
  var counts = SSDCounts()

  package init(_ parameters: SSDParameters, for context: ModelContext) throws(DiskModelError) {
    self.parameters = parameters
    let geometry = try SSDGeometry(parameters, diskSize: context.diskSize)
    self.geometry = geometry
    events = SSDEvents(dies: geometry.dies, backgroundSlack: parameters.leastOperation)
    let block = UInt64(geometry.unitsPerBlock) * parameters.programUnit
    let whole = parameters.block ?? block
    let (high, low) = parameters.eraseTime.multipliedFullWidth(by: min(block, whole))
    eraseTime = whole.dividingFullWidth((high, low)).quotient
    channels = Table(repeating: TransferState(), count: geometry.channels)
    dies = Table(repeating: DieState(), count: geometry.dies)
    channelOfDie = Table((0..<geometry.dies).map { Int32(geometry.channel(of: $0)) })
    let isFilled = parameters.precondition != .none
    let perPartition = UInt32(geometry.pagesPerPartition)
    map = LazyTable(
      count: geometry.logicalPages,
      formula: isFilled
        ? .filled(partitions: geometry.byPartition, pagesPerPartition: perPartition) : .constant(noIndex),
      constant: noIndex)
    reverse = LazyTable(
      count: geometry.physicalPages,
      formula: isFilled
        ? .filler(
          partitions: UInt32(geometry.partitions), pagesPerPartition: geometry.byPartitionPages,
          count: UInt32(geometry.logicalPages), none: noIndex) : .constant(noIndex),
      constant: noIndex)
    isValid = PageBits(count: geometry.physicalPages, filled: isFilled ? geometry : nil)
    isUnprogrammed = PageBits(count: geometry.physicalPages / geometry.unitPages)
    let lines = geometry.lines * geometry.partitions
    valid = Table(repeating: 0, count: lines)
    readsLeft = Table(repeating: 0, count: lines)
    partitions = Table(
      (0..<geometry.partitions).map {
        let first = UInt32($0 * geometry.lines)
        return SSDPartition(
          victims: VictimHeap(first: first, count: geometry.lines),
          free: Fifo(Array(first..<(first + UInt32(geometry.lines)))))
      })
    bufferPages = UInt32(parameters.writeBuffer / SSDParameters.pageSize)
    segmentPages = bufferPages - UInt32(geometry.partitions * (geometry.unitPages - 1))
    mapCache = parameters.mapCache.map {
      MapCache(bytes: $0, fetch: parameters.mapFetch, logicalPages: geometry.logicalPages)
    }
    try prepare(context.stream("precondition"))
  }

  package var minimumLatency: SimulationDuration {
    SimulationDuration(nanoseconds: parameters.minimumLatency)
  }

  /// How the drive was made to fit the disk, in one line.
  package var placement: String? { geometry.description(parameters) }

  package var nextWake: SimulationTime? { events.nextWake.map { SimulationTime(nanoseconds: $0) } }

  package mutating func submit(
    _ request: ModelRequest, at now: SimulationTime, into finished: inout [ModelCompletion]
  ) {
    run(until: now.nanoseconds, &finished)
    accept(request, at: now.nanoseconds, &finished)
  }

  package mutating func advance(to now: SimulationTime, into finished: inout [ModelCompletion]) {
    run(until: now.nanoseconds, &finished)
  }

  package mutating func catchUp(to now: SimulationTime) {
    guard let wake = events.nextWake, wake > now.nanoseconds else { return }
    var none: [ModelCompletion] = []
    run(until: now.nanoseconds, &none)
  }

  /// Copies the tables that a copy of this model shares with it: all of them, or none.
  @inline(__always)
  private mutating func makeTablesUnique() {
    guard map.isShared() else { return }
    events.makeUnique()
    requests.makeUnique()
    operations.makeUnique()
    waiters.makeUnique()
    channels.makeUnique()
    dies.makeUnique()
    valid.makeUnique()
    readsLeft.makeUnique()
    partitions.makeUnique()
    map.makeUnique()
    reverse.makeUnique()
    isValid.makeUnique()
    isUnprogrammed.makeUnique()
  }

  private mutating func run(until now: UInt64, _ finished: inout [ModelCompletion]) {
    makeTablesUnique()
    while let event = events.pop(until: now) {
      let time = event.time
      switch event.kind {
      case .readReady: readReady(event.index, time, &finished)
      case .writeReady: writeReady(event.index, time, &finished)
      case .writeArrived: writeArrived(event.index, time, &finished)
      case .sensed: sensed(event.index, time)
      case .transferred: transferred(event.index, time, &finished)
      case .dieDone: dieDone(event.index, event.generation, time, &finished)
      case .suspended: suspend(event.index, event.generation, time)
      case .flushBegins: beginFlush(time, &finished)
      case .flushEnds: endFlush(time, &finished)
      }
    }
  }

  /// Takes a request that nothing holds back.
  mutating func accept(_ request: ModelRequest, at now: UInt64, _ finished: inout [ModelCompletion]) {
    if flushes.isHolding {
      flushes.held.append(request)
      return
    }
    switch request.operation {
    case .flush: flush(request, at: now, &finished)
    case .discard:
      let pages = unmap(request)
      let rate = parameters.discardBandwidth
      let time = rate.map { transferTime(pages * SSDParameters.pageSize, at: $0) } ?? 0
      end(request.sequence, at: now + parameters.discardTime + time, &finished)
    case .writeZeroes where parameters.zeroesMode == .unmap:
      _ = unmap(request)
      end(request.sequence, at: now + parameters.zeroesTime, &finished)
    case .writeZeroes, .write: startWrite(request, at: now)
    case .read:
      let time =
        request.length <= parameters.smallRead ? parameters.firmwareSmallRead : parameters.firmwareRead
      unresolved += 1
      events.insert(.readReady, requests.insert(inside(request)), at: now + time)
    }
  }

  @inline(__always)
  func inside(_ request: ModelRequest) -> SSDRequest {
    SSDRequest(
      request, size: UInt64(geometry.logicalPages) * SSDParameters.pageSize,
      isProtected: parameters.hasPowerLossProtection)
  }

  /// Tells that a request is done at `time`, which may be yet to come.
  mutating func end(_ sequence: UInt64, at time: UInt64, _ finished: inout [ModelCompletion]) {
    lastEnd = max(lastEnd, time)
    finished.append(ModelCompletion(sequence: sequence, time: SimulationTime(nanoseconds: time)))
  }

  /// The same for one whose end was not known.
  mutating func resolve(_ index: UInt32, at time: UInt64, _ finished: inout [ModelCompletion]) {
    end(requests[index].sequence, at: time, &finished)
    requests.remove(index)
    unresolved -= 1
    if unresolved == 0, flushes.isHolding { scheduleHeldFlush(at: time) }
  }

  /// Sends bytes of a request over the link; returns when they are there.
  mutating func sendOverLink(_ index: UInt32, _ bytes: UInt64, at now: UInt64) -> UInt64 {
    var duration = transferTime(bytes, at: parameters.linkBandwidth)
    if !requests[index].hasPaidCommand {
      requests[index].hasPaidCommand = true
      duration += parameters.linkCommand
    }
    return link.use(from: now, for: duration)
  }
}
