// Which operations are under way, and what each of them needs next.
import Glibc
import Linux
import Synchronization

/// All operations of one engine: it takes them, says what to ask the kernel for, and learns what came of it.
///
/// Engines differ in how they ask; everything else is here, once: short transfers, the end of the file,
/// interruptions, alignment, zeros that must be written. An operation goes through steps, one at a time.
///
/// SAFETY: the owner hands each operation that it got from `next` back to `complete` once, and keeps it no
/// longer.
struct OperationTable: ~Copyable {
  typealias Reference = UnsafeMutablePointer<Operation>

  private(set) var underWay = 0
  private var vacant = OperationList()
  /// What is not begun …
  private var ready = OperationList()
  /// … and what goes on, and comes first: others may wait for what it holds.
  private var begun = OperationList()
  private var withoutBuffer = OperationList()
  private var withoutRange = OperationList()
  private var withoutRangeCount = 0
  private var chunks: [UnsafeMutablePointer<Operation>] = []
  private var buffers = BufferPool()
  private var zeros: UnsafeMutableRawPointer?
  private var mischief: Mischief?
  /// By which other engines wake this one; there as soon as a file with ranges is.
  private(set) var wakeUp: WakeUp?

  init(mischief: Mischief? = nil) { self.mischief = mischief }

  deinit {
    // The kernel may write to them still: whoever lets an engine go too early loses memory, not data.
    guard underWay == 0 else { return }
    for chunk in chunks {
      for index in 0..<Limits.operationsPerChunk { chunk[index].destroy() }
      chunk.deallocate()
    }
    zeros?.deallocate()
  }

  /// Whether `next` has something to say.
  var hasReady: Bool { begun.first != nil || (ready.first != nil && canBegin) }

  /// The list of ranges is searched from end to end: not everybody queues up there.
  private var canBegin: Bool { withoutRangeCount < Limits.waitingForRangesMax }

  /// Takes an operation; it is ready.
  mutating func add(_ operation: IOOperation, _ list: UnsafeBufferPointer<iovec>) {
    let slot = vacantSlot()
    // The engine watches it before the operation can have to wait.
    if wakeUp == nil, operation.file.direct?.locks != nil { wakeUp = try? WakeUp() }
    slot.pointee.kind = operation.kind
    slot.pointee.tag = operation.tag
    slot.pointee.file = operation.file
    slot.pointee.position = operation.offset
    slot.pointee.phase = .waiting
    slot.pointee.writesZeros = false
    slot.pointee.avoidsDirect = false
    let count: UInt64?
    switch operation.kind {
    case .read, .write: count = slot.pointee.take(list)
    case .zero, .zeroAndUnmap: count = operation.count
    case .synchronize: count = 0
    }
    let (end, overflow) = operation.offset.addingReportingOverflow(count ?? .max)
    slot.pointee.isOutOfRange = overflow || end > UInt64(Int64.max)
    slot.pointee.end = end
    slot.pointee.limit = end
    underWay += 1
    ready.append(slot)
  }

  /// The next operation that needs the kernel; its `step` says what for. Appends the events of those that
  /// need nothing any more.
  mutating func next(into events: inout [IOEvent]) -> Reference? {
    while let slot = begun.popFirst() ?? (canBegin ? ready.popFirst() : nil) {
      switch prepare(slot) {
      case .step:
        if mischief != nil { shorten(slot) }
        return slot
      case .parked: continue
      case .finished(let code): finish(slot, code, into: &events)
      }
    }
    return nil
  }

  /// Takes back an operation whose step the kernel had no room for.
  mutating func putBack(_ slot: Reference) {
    if slot.pointee.phase == .plain || slot.pointee.phase == .whole { slot.pointee.phase = .waiting }
    begun.prepend(slot)
  }

  /// Takes the result of a step: how many bytes were moved, or the negative value of `errno`. The operation
  /// has its event now, or is ready for another step.
  mutating func complete(_ slot: Reference, result: Int, into events: inout [IOEvent]) {
    var result = result
    if mischief != nil, let other = mischief?.result(result) { result = other }
    switch outcome(slot, result) {
    case .step, .parked: begun.append(slot)
    case .finished(let code): finish(slot, code, into: &events)
    }
  }

  /// Looks for ranges that were granted meanwhile; call it when `wakeUp` was readable.
  mutating func wokeUp() {
    wakeUp?.clear()
    var waiting = OperationList()
    swap(&waiting, &withoutRange)
    withoutRangeCount = 0
    while let slot = waiting.popFirst() {
      if let ticket = slot.pointee.ticket, slot.pointee.file?.direct?.locks?.isGranted(ticket) == true {
        begun.append(slot)
      } else {
        withoutRange.append(slot)
        withoutRangeCount += 1
      }
    }
  }

  private enum Outcome {
    /// It is ready, or has a step.
    case step
    /// It waits for a buffer or a range, in a list.
    case parked
    case finished(CInt)
  }

  // MARK: What to ask for

  private mutating func prepare(_ slot: Reference) -> Outcome {
    switch slot.pointee.phase {
    case .bufferedRead, .oldContents, .bufferedWrite, .tail:
      prepareWindow(slot)
      return .step
    case .waiting, .whole, .plain: break
    }
    guard let file = slot.pointee.file, !slot.pointee.isOutOfRange else { return .finished(EFBIG) }
    switch slot.pointee.kind {
    case .synchronize:
      slot.pointee.phase = .whole
      slot.pointee.step.kind = .synchronize
      slot.pointee.step.descriptor = file.descriptor.rawValue
      return .step
    case .read: return prepareTransfer(slot, file, isWrite: false)
    case .write: return prepareTransfer(slot, file, isWrite: true)
    case .zero, .zeroAndUnmap: return prepareZero(slot, file)
    }
  }

  private mutating func prepareTransfer(_ slot: Reference, _ file: ImageFile, isWrite: Bool) -> Outcome {
    let position = slot.pointee.position
    let limit = slot.pointee.limit
    guard position < limit else { return .finished(0) }
    guard let direct = file.direct, !slot.pointee.avoidsDirect else {
      preparePlain(slot, file.descriptor.rawValue, isWrite)
      return .step
    }
    let isAligned = direct.accepts(offset: position, count: limit - position)
    if isWrite {
      switch takeRange(slot, direct, isExclusive: !isAligned) {
      case .step: break
      case let other: return other
      }
    }
    let isAddressable =
      slot.pointee.addressBits & UInt(direct.memoryAlignment - 1) == 0
      && slot.pointee.lengthBits & UInt(direct.alignment - 1) == 0
    if isAligned, isAddressable {
      preparePlain(slot, direct.descriptor, isWrite)
      return .step
    }
    return prepareBuffer(slot, direct, isWrite: isWrite)
  }

  private func preparePlain(_ slot: Reference, _ descriptor: CInt, _ isWrite: Bool) {
    slot.pointee.phase = .plain
    let first = slot.pointee.firstPart
    slot.pointee.step.kind = isWrite ? .write : .read
    slot.pointee.step.descriptor = descriptor
    slot.pointee.step.offset = slot.pointee.position
    slot.pointee.step.parts = slot.pointee.parts + first
    slot.pointee.step.partCount = min(slot.pointee.partsEnd - first, Limits.partsPerCall)
    if slot.pointee.parts[first].iov_len > Limits.bytesPerStep {
      limitStep(slot, to: UInt64(Limits.bytesPerStep))
    }
  }

  /// Lets the step move only the first bytes of its first part.
  private func limitStep(_ slot: Reference, to count: UInt64) {
    let extra = slot.pointee.parts + slot.pointee.capacity
    let part = slot.pointee.step.parts.pointee
    extra.pointee = iovec(iov_base: part.iov_base, iov_len: Int(min(UInt64(part.iov_len), count)))
    slot.pointee.step.parts = extra
    slot.pointee.step.partCount = 1
  }

  private mutating func shorten(_ slot: Reference) {
    guard slot.pointee.phase != .whole else { return }
    let direct = slot.pointee.file?.direct
    let isDirect = slot.pointee.step.descriptor == direct?.descriptor
    guard let limit = mischief?.byteLimit(unit: isDirect ? direct?.alignment ?? 1 : 1) else { return }
    limitStep(slot, to: limit)
  }

  /// Asks for the range of an operation that writes, once, where the file wants that.
  private mutating func takeRange(
    _ slot: Reference, _ direct: DirectAccess, isExclusive: Bool
  ) -> Outcome {
    guard let locks = direct.locks else { return isExclusive ? .finished(EINVAL) : .step }
    guard slot.pointee.ticket == nil else { return .step }
    guard let wakeUp else { return .finished(EMFILE) }
    let range = slot.pointee.position..<slot.pointee.end
    let (ticket, isGranted) = locks.take(range, exclusive: isExclusive, for: wakeUp)
    slot.pointee.ticket = ticket
    if isGranted { return .step }
    withoutRange.append(slot)
    withoutRangeCount += 1
    return .parked
  }

  private mutating func prepareBuffer(
    _ slot: Reference, _ direct: DirectAccess, isWrite: Bool
  ) -> Outcome {
    if slot.pointee.buffer == nil { slot.pointee.buffer = buffers.take() }
    guard let buffer = slot.pointee.buffer else {
      withoutBuffer.append(slot)
      return .parked
    }
    let mask = UInt64(direct.alignment - 1)
    let start = slot.pointee.position & ~mask
    let stop = min((slot.pointee.limit + mask) & ~mask, start + UInt64(Limits.bufferBytes))
    slot.pointee.windowStart = start
    slot.pointee.windowCount = Int(stop - start)
    slot.pointee.windowDone = 0
    if !isWrite {
      slot.pointee.phase = .bufferedRead
    } else if slot.pointee.position != start || slot.pointee.limit < stop {
      slot.pointee.phase = .oldContents
    } else {
      slot.pointee.copy(toParts: false, buffer, count: slot.pointee.windowCount)
      slot.pointee.phase = .bufferedWrite
    }
    prepareWindow(slot)
    return .step
  }

  private func prepareWindow(_ slot: Reference) {
    guard let buffer = slot.pointee.buffer, let file = slot.pointee.file else { return }
    let phase = slot.pointee.phase
    let done = slot.pointee.windowDone
    // `tail` counts from the request's first byte, the others from the window's.
    let offset = (phase == .tail ? slot.pointee.position : slot.pointee.windowStart) + UInt64(done)
    let stop =
      phase == .tail ? slot.pointee.limit : slot.pointee.windowStart + UInt64(slot.pointee.windowCount)
    let extra = slot.pointee.parts + slot.pointee.capacity
    extra.pointee = iovec(
      iov_base: buffer + Int(offset - slot.pointee.windowStart), iov_len: Int(stop - offset))
    slot.pointee.step.kind = phase == .bufferedWrite || phase == .tail ? .write : .read
    slot.pointee.step.descriptor =
      phase == .tail ? file.descriptor.rawValue : file.direct?.descriptor ?? file.descriptor.rawValue
    slot.pointee.step.offset = offset
    slot.pointee.step.parts = extra
    slot.pointee.step.partCount = 1
  }

  private mutating func prepareZero(_ slot: Reference, _ file: ImageFile) -> Outcome {
    guard slot.pointee.position < slot.pointee.end else { return .finished(0) }
    let unmap = slot.pointee.kind == .zeroAndUnmap
    let range = slot.pointee.position..<slot.pointee.end
    if let direct = file.direct, direct.locks != nil {
      // Where zeros have to be written, they end at the end of the file: within a block, perhaps.
      switch takeRange(slot, direct, isExclusive: true) {
      case .step: break
      case let other: return other
      }
    }
    if !slot.pointee.writesZeros, unmap ? file.refusesToUnmap : file.refusesToZero {
      switch startWritingZeros(slot, file) {
      case .step: break
      case let other: return other
      }
    }
    guard slot.pointee.writesZeros else {
      slot.pointee.phase = .whole
      slot.pointee.step.kind = unmap ? .unmap : .zero
      slot.pointee.step.descriptor = file.descriptor.rawValue
      slot.pointee.step.offset = range.lowerBound
      slot.pointee.step.count = range.upperBound - range.lowerBound
      return .step
    }
    if slot.pointee.position == slot.pointee.limit {
      // Steps end at multiples of their length, so that all but the first and the last are aligned.
      let mask = UInt64(Limits.zeroBytesPerStep - 1)
      slot.pointee.limit = min(slot.pointee.end, (slot.pointee.position | mask) + 1)
      slot.pointee.takeZeros(
        zeroMemory(), count: Int(slot.pointee.limit - slot.pointee.position))
    }
    return prepareTransfer(slot, file, isWrite: true)
  }

  /// What lies beyond the end of the file is zeros already, and is left out.
  private func startWritingZeros(_ slot: Reference, _ file: ImageFile) -> Outcome {
    let size: UInt64
    do throws(BlockIOError) { size = try file.status().size } catch { return .finished(error.code ?? EIO) }
    slot.pointee.writesZeros = true
    slot.pointee.end = min(slot.pointee.end, size)
    slot.pointee.limit = slot.pointee.position
    return slot.pointee.position < slot.pointee.end ? .step : .finished(0)
  }

  private mutating func zeroMemory() -> UnsafeMutableRawPointer {
    if let zeros { return zeros }
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: Limits.zeroBytesPerCall, alignment: Limits.zeroBytesPerCall)
    memset(memory, 0, Limits.zeroBytesPerCall)
    zeros = memory
    return memory
  }

  // MARK: What came of it

  private mutating func outcome(_ slot: Reference, _ result: Int) -> Outcome {
    if result < 0 {
      let code = CInt(truncatingIfNeeded: -result)
      if slot.pointee.phase == .plain { slot.pointee.phase = .waiting }
      if code == EINTR || code == EAGAIN { return .step }
      return slot.pointee.phase == .whole ? refused(slot, code) : .finished(code)
    }
    switch slot.pointee.phase {
    case .whole, .waiting: return .finished(0)
    case .plain: return movedPlainly(slot, result)
    case .bufferedRead, .oldContents: return filledWindow(slot, result)
    case .bufferedWrite, .tail: return emptiedWindow(slot, result)
    }
  }

  private func refused(_ slot: Reference, _ code: CInt) -> Outcome {
    guard slot.pointee.kind != .synchronize, let file = slot.pointee.file else { return .finished(code) }
    switch code {
    case EOPNOTSUPP, ENOSYS:
      if slot.pointee.kind == .zeroAndUnmap {
        file.refusals.unmap.store(true, ordering: .relaxed)
      } else {
        file.refusals.zero.store(true, ordering: .relaxed)
      }
      return startWritingZeros(slot, file)
    // A block device, whose sectors the range does not match.
    case EINVAL: return startWritingZeros(slot, file)
    default: return .finished(code)
    }
  }

  /// Block by block where the file is direct: the rest of a block says that the file ends there.
  private func movedPlainly(_ slot: Reference, _ moved: Int) -> Outcome {
    slot.pointee.phase = .waiting
    guard let file = slot.pointee.file else { return .finished(EIO) }
    var moved = moved
    let unit = slot.pointee.avoidsDirect ? 1 : file.direct?.alignment ?? 1
    let isUneven = moved & (unit - 1) != 0
    if slot.pointee.step.kind == .write {
      // A write that moves nothing and names no reason: the kernel's way to say that it is full.
      moved &= ~(unit - 1)
      guard moved > 0 else { return .finished(ENOSPC) }
    } else if moved == 0 || isUneven {
      slot.pointee.advance(moved)
      return endOfFile(slot, file, at: slot.pointee.position)
    }
    slot.pointee.advance(moved)
    return isDone(slot)
  }

  /// The kernel said that the file ends at `position`: it is asked again, once, in another way.
  private func endOfFile(_ slot: Reference, _ file: ImageFile, at position: UInt64) -> Outcome {
    if !slot.pointee.avoidsDirect, file.direct != nil, let size = try? file.status().size, position < size {
      slot.pointee.avoidsDirect = true
      return .step
    }
    slot.pointee.fillRestWithZeros()
    return .finished(0)
  }

  private func filledWindow(_ slot: Reference, _ moved: Int) -> Outcome {
    guard let file = slot.pointee.file, let buffer = slot.pointee.buffer else { return .finished(EIO) }
    let unit = file.direct?.alignment ?? 1
    slot.pointee.windowDone += moved
    let done = slot.pointee.windowDone
    let atEnd = moved == 0 || moved & (unit - 1) != 0
    guard atEnd || done == slot.pointee.windowCount else { return .step }
    let count = slot.pointee.countInWindow
    let skipped = Int(slot.pointee.position - slot.pointee.windowStart)
    memset(buffer + done, 0, slot.pointee.windowCount - done)
    if slot.pointee.phase == .bufferedRead {
      let here = atEnd ? max(0, min(count, done - skipped)) : count
      slot.pointee.copy(toParts: true, buffer + skipped, count: here)
      slot.pointee.advance(here)
      slot.pointee.phase = .waiting
      guard atEnd, slot.pointee.position < slot.pointee.limit else { return isDone(slot) }
      return endOfFile(slot, file, at: max(slot.pointee.position, slot.pointee.windowStart + UInt64(done)))
    }
    if atEnd, let size = try? file.status().size, slot.pointee.windowStart + UInt64(done) < size {
      return .finished(EIO)
    }
    slot.pointee.copy(toParts: false, buffer + skipped, count: count)
    let endsWithin = skipped + count < slot.pointee.windowCount
    slot.pointee.phase = atEnd && endsWithin ? .tail : .bufferedWrite
    slot.pointee.windowDone = 0
    return .step
  }

  private func emptiedWindow(_ slot: Reference, _ moved: Int) -> Outcome {
    let unit = slot.pointee.phase == .tail ? 1 : slot.pointee.file?.direct?.alignment ?? 1
    let whole = moved & ~(unit - 1)
    guard whole > 0 else { return .finished(ENOSPC) }
    slot.pointee.windowDone += whole
    let count = slot.pointee.countInWindow
    let wanted = slot.pointee.phase == .tail ? count : slot.pointee.windowCount
    guard slot.pointee.windowDone >= wanted else { return .step }
    slot.pointee.phase = .waiting
    slot.pointee.advance(count)
    return isDone(slot)
  }

  private func isDone(_ slot: Reference) -> Outcome {
    slot.pointee.position < slot.pointee.end ? .step : .finished(0)
  }

  // MARK: Slots

  private mutating func vacantSlot() -> Reference {
    if let slot = vacant.popFirst() { return slot }
    let chunk = Reference.allocate(capacity: Limits.operationsPerChunk)
    for index in 0..<Limits.operationsPerChunk {
      (chunk + index).initialize(to: Operation())
      vacant.append(chunk + index)
    }
    chunks.append(chunk)
    return vacantSlot()
  }

  private mutating func finish(_ slot: Reference, _ code: CInt, into events: inout [IOEvent]) {
    if let ticket = slot.pointee.ticket {
      slot.pointee.file?.direct?.locks?.release(ticket)
      slot.pointee.ticket = nil
    }
    if let buffer = slot.pointee.buffer {
      slot.pointee.buffer = nil
      buffers.giveBack(buffer)
      if let waiting = withoutBuffer.popFirst() { begun.append(waiting) }
    }
    slot.pointee.file = nil
    events.append(IOEvent(tag: slot.pointee.tag, code: code))
    vacant.append(slot)
    underWay -= 1
    if underWay == 0 { buffers.trim() }
  }
}

/// Memory that the kernel takes as it is, in pieces of one size, and not too many of them.
struct BufferPool: ~Copyable {
  private var vacant: [UnsafeMutableRawPointer] = []
  private var count = 0

  deinit { for buffer in vacant { buffer.deallocate() } }

  /// A buffer; nil when all are in use.
  mutating func take() -> UnsafeMutableRawPointer? {
    if let buffer = vacant.popLast() { return buffer }
    guard count < Limits.buffersMax else { return nil }
    count += 1
    return .allocate(byteCount: Limits.bufferBytes, alignment: Limits.directAlignmentMax)
  }

  mutating func giveBack(_ buffer: UnsafeMutableRawPointer) { vacant.append(buffer) }

  /// Frees what is not needed soon.
  mutating func trim() {
    while vacant.count > Limits.buffersKept, let buffer = vacant.popLast() {
      buffer.deallocate()
      count -= 1
    }
  }
}
