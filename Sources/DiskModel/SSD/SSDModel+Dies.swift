// Dies and channels: one operation of a die at a time, one transfer of a channel at a time.

extension SSDModel {
  /// Gives a die something to do.
  /// - Parameter isHostRead: whether the host waits for it, and it may go before others.
  mutating func enqueue(_ index: UInt32, isHostRead: Bool, _ now: UInt64) {
    let die = Int(operations[index].die)
    if isHostRead, parameters.scheduler == .readFirst {
      operations.append(index, to: &dies[die].reads)
    } else {
      operations.append(index, to: &dies[die].others)
    }
    switch dies[die].activity {
    case .idle: startNext(die, now)
    case .writing where isHostRead: suspendSoon(die, now)
    case .writing, .reading, .suspending: break
    }
  }

  /// Lets an idle die begin what is next.
  mutating func startNext(_ die: Int, _ now: UInt64) {
    guard dies[die].activity == .idle else { return }
    let hasOthers = !dies[die].others.isEmpty || dies[die].suspended != noIndex
    let mayRead = !hasOthers || dies[die].readsInRow < parameters.readBurst
    let index: UInt32
    if !dies[die].reads.isEmpty, mayRead {
      dies[die].readsInRow += 1
      index = operations.removeFirst(of: &dies[die].reads)
    } else if dies[die].suspended != noIndex {
      resume(die, now)
      return
    } else if !dies[die].others.isEmpty {
      dies[die].readsInRow = 0
      index = operations.removeFirst(of: &dies[die].others)
    } else {
      return
    }
    if dies[die].busySince == .max { dies[die].busySince = now }
    dies[die].current = index
    let operation = operations[index]
    switch operation.kind {
    case .read, .collectionRead, .mapRead:
      dies[die].activity = .reading
      insert(.sensed, index, at: now + operation.duration, of: operation.kind, die)
    case .program, .collectionProgram:
      let bytes = UInt64(geometry.unitPages) * SSDParameters.pageSize
      let time = transferTime(bytes, at: parameters.channelBandwidth)
      let loaded = channels[Int(channelOfDie[die])].use(from: now, for: time)
      write(die, operation.kind, from: loaded, for: operation.duration)
    case .erase: write(die, .erase, from: now, for: operation.duration)
    }
  }

  private mutating func write(
    _ die: Int, _ kind: FlashOperation.Kind, from start: UInt64, for duration: UInt64
  ) {
    dies[die].activity = .writing
    dies[die].suspendableFrom = start
    dies[die].end = start + duration
    insert(.dieDone, UInt32(die), at: start + duration, of: kind, die)
  }

  /// An event of what a die does now.
  @inline(__always)
  private mutating func insert(
    _ event: SSDEvent.Kind, _ index: UInt32, at time: UInt64, of kind: FlashOperation.Kind, _ die: Int
  ) {
    let generation = dies[die].generation
    switch kind {
    case .read, .mapRead, .program: events.insert(event, index, at: time, generation: generation)
    case .collectionRead, .collectionProgram, .erase:
      events.insert(event, index, at: time, generation: generation, inBackgroundOf: die)
    }
  }

  /// The die has nothing to do at this moment.
  private mutating func release(_ die: Int, _ now: UInt64) {
    dies[die].activity = .idle
    dies[die].current = noIndex
    startNext(die, now)
    if dies[die].activity == .idle {
      dies[die].busy += now - dies[die].busySince
      dies[die].busySince = .max
    }
  }

  // MARK: Reads

  mutating func sensed(_ index: UInt32, _ now: UInt64) {
    let chunk = UInt32(min(UInt64(operations[index].channelBytes), parameters.channelChunk))
    operations[index].chunk = chunk
    let die = Int(operations[index].die)
    let channel = Int(channelOfDie[die])
    let time = transferTime(UInt64(chunk), at: parameters.channelBandwidth)
    let end = channels[channel].use(from: now, for: time)
    insert(.transferred, index, at: end, of: operations[index].kind, die)
  }

  mutating func transferred(_ index: UInt32, _ now: UInt64, _ finished: inout [ModelCompletion]) {
    let operation = operations[index]
    let left = operation.channelBytes - operation.chunk
    operations[index].channelBytes = left
    if operation.kind == .read {
      let bytes = left == 0 ? operation.linkBytes : min(UInt64(operation.chunk), operation.linkBytes)
      operations[index].linkBytes -= bytes
      if bytes > 0 {
        let end = sendOverLink(operation.request, bytes, at: now)
        requests[operation.request].last = max(requests[operation.request].last, end)
      }
    }
    guard left == 0 else {
      sensed(index, now)
      return
    }
    operations.remove(index)
    release(Int(operation.die), now)
    switch operation.kind {
    case .read: partEnded(operation.request, &finished)
    case .mapRead: mapPieceLoaded(operation.request, operation.target, now, &finished)
    default: stripeCollected(operation.target, now)
    }
  }

  // MARK: Programs and erases

  mutating func dieDone(
    _ index: UInt32, _ generation: UInt16, _ now: UInt64, _ finished: inout [ModelCompletion]
  ) {
    let die = Int(index)
    guard dies[die].generation == generation else { return }
    // It ended before it came to where it would have stopped.
    dies[die].generation &+= 1
    let current = dies[die].current
    let operation = operations[current]
    operations.remove(current)
    release(die, now)
    switch operation.kind {
    case .program: programmed(operation, now, &finished)
    case .collectionProgram: isUnprogrammed[operation.target] = false
    default: break
    }
  }

  /// A read has come for a die that writes: it stops, if it can and it is worth it.
  private mutating func suspendSoon(_ die: Int, _ now: UInt64) {
    let isErase = operations[dies[die].current].kind == .erase
    let time = isErase ? parameters.eraseSuspend : parameters.programSuspend
    guard time > 0, now >= dies[die].suspendableFrom, now + time < dies[die].end else { return }
    dies[die].activity = .suspending
    // Of what the die does in the background this takes the place: its end is not known any more.
    events.insert(
      .suspended, UInt32(die), at: now + time, generation: dies[die].generation, inBackgroundOf: die)
  }

  mutating func suspend(_ index: UInt32, _ generation: UInt16, _ now: UInt64) {
    let die = Int(index)
    guard dies[die].generation == generation else { return }
    dies[die].generation &+= 1
    dies[die].suspended = dies[die].current
    dies[die].remaining = dies[die].end - now
    dies[die].readsInRow = 0
    dies[die].activity = .idle
    counts.suspensions += 1
    startNext(die, now)
  }

  private mutating func resume(_ die: Int, _ now: UInt64) {
    dies[die].current = dies[die].suspended
    dies[die].suspended = noIndex
    dies[die].readsInRow = 0
    write(die, operations[dies[die].current].kind, from: now, for: dies[die].remaining)
    if !dies[die].reads.isEmpty { suspendSoon(die, now) }
  }
}
