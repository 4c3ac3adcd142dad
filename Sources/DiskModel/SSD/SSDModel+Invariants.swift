// What must be so at any moment; for tests.

extension SSDModel {
  /// The first thing that is not as it should be; nil if all is well. Looks at every page.
  package func violation() -> String? {
    mapViolation() ?? lineViolation() ?? bufferViolation() ?? dieViolation()
  }

  /// Each mapped page is where the reverse table says, and the lines count them.
  private func mapViolation() -> String? {
    var perLine = [UInt32](repeating: 0, count: valid.count)
    var mapped: UInt64 = 0
    for page in 0..<UInt32(geometry.logicalPages) {
      let entry = map[page]
      guard entry < 1 << 31 else { continue }
      mapped += 1
      guard reverse[entry] == page else { return "page \(page) is at \(entry), which is \(reverse[entry])'s" }
      guard isValid[entry] else { return "page \(page) is at \(entry), which is not valid" }
      let home = Int(geometry.byPartition.remainder(page))
      guard partition(of: entry) == home else { return "page \(page) has left partition \(home)" }
      perLine[Int(geometry.byLine.quotient(entry))] += 1
    }
    guard mapped == mappedPages else { return "\(mapped) pages are mapped, \(mappedPages) counted" }
    let bits = (0..<UInt32(geometry.physicalPages)).count { isValid[$0] }
    guard bits == mapped else { return "\(mapped) pages are mapped, \(bits) flash pages valid" }
    for (line, count) in perLine.enumerated() where count != valid[line] {
      return "line \(line) has \(count) valid pages, \(valid[line]) counted"
    }
    return nil
  }

  /// Each line is in one place: free, kept, open, closed, a victim or being erased.
  private func lineViolation() -> String? {
    for (index, partition) in partitions.enumerated() {
      var seen = [Int](repeating: 0, count: geometry.lines)
      let first = index * geometry.lines
      func see(_ line: UInt32) {
        if line != noIndex { seen[Int(line) - first] += 1 }
      }
      partition.free.all.forEach(see)
      [partition.user.line, partition.collected.line].forEach(see)
      for line in first..<(first + geometry.lines) {
        if partition.victims.contains(UInt32(line)) { see(UInt32(line)) }
        if readsLeft[line] > 0 { see(UInt32(line)) }
      }
      if let wrong = seen.firstIndex(where: { $0 != 1 }) {
        return "line \(first + wrong) is in \(seen[wrong]) places"
      }
      for line in partition.free.all where valid[Int(line)] > 0 {
        return "the free line \(line) has valid pages"
      }
      let emptying = (first..<(first + geometry.lines)).filter { readsLeft[$0] > 0 }
      let toMove = emptying.reduce(0) { $0 + valid[$1] }
      guard emptying.count == partition.emptying, toMove == partition.pagesToMove else {
        return "\(emptying.count) lines with \(toMove) pages are being emptied, \(partition.emptying) counted"
      }
      if let least = partition.victims.minimum,
        let less = (first..<(first + geometry.lines)).first(where: {
          partition.victims.contains(UInt32($0)) && valid[$0] < valid[Int(least)]
        })
      {
        return "line \(less) has fewer valid pages than the first to be collected, \(least)"
      }
    }
    return nil
  }

  /// Every page in the buffer is on the link, waits, or is in a unit that is open or not programmed.
  private func bufferViolation() -> String? {
    guard bufferUsed <= bufferPages else { return "\(bufferUsed) pages are in a buffer of \(bufferPages)" }
    var waiting = 0
    var units = 0
    for partition in partitions {
      waiting += partition.waiting.all.count { $0.page < PageQueue.Entry.flush }
      if partition.user.unit != noIndex { units += Int(operations[partition.user.unit].pages) }
    }
    for die in dies {
      for index in operations(of: die) where operations[index].kind == .program {
        units += Int(operations[index].pages)
      }
    }
    let inside = UInt64(waiting + units)
    let outstanding = flushes.outstanding.all.reduce(0, +)
    guard outstanding == inside else {
      return "\(inside) pages are in the buffer, \(outstanding) for flushes"
    }
    guard inside <= UInt64(bufferUsed) else {
      return "\(inside) pages are in the buffer, \(bufferUsed) counted"
    }
    if events.count == 0, inside != UInt64(bufferUsed) {
      return "\(bufferUsed - UInt32(inside)) pages of the buffer are lost"
    }
    return nil
  }

  /// A die with something to do does something.
  private func dieViolation() -> String? {
    guard events.isFair else { return "a die is next whose event is not the earliest" }
    for (index, die) in dies.enumerated() {
      let isBusy = die.current != noIndex || die.suspended != noIndex
      if die.activity == .idle, isBusy || !die.reads.isEmpty || !die.others.isEmpty {
        return "die \(index) rests with work to do"
      }
    }
    if events.count == 0 {
      if unresolved > 0 { return "\(unresolved) requests will never end" }
      let open =
        partitions.count { $0.user.unit != noIndex } + partitions.count { $0.collected.unit != noIndex }
      if operations.used != open { return "\(operations.used) operations are left, \(open) units are open" }
      if requests.used != 0 || waiters.used != 0 { return "requests are left that have ended" }
    }
    return nil
  }

  private func operations(of die: DieState) -> [UInt32] {
    var result = [die.current, die.suspended].filter { $0 != noIndex }
    for list in [die.reads, die.others] {
      var index = list.head
      while index != noIndex {
        result.append(index)
        index = operations[index].next
      }
    }
    return result
  }

  /// Nanoseconds that each part was at work up to `now`: the link, the channels, the dies.
  package func busyTimes(at now: UInt64) -> [UInt64] {
    let dieTimes = dies.map { $0.busy + ($0.busySince == .max ? 0 : now - $0.busySince) }
    // What they are asked to do lies before them in full.
    return ([link] + channels).map { $0.busy - (max($0.freeAt, now) - now) } + dieTimes
  }

  /// Bytes of the tables that grow with the disk.
  package var tableMemory: Int { map.memory + reverse.memory + isValid.memory + isUnprogrammed.memory }
  package var flashBytes: UInt64 { UInt64(geometry.physicalPages) * SSDParameters.pageSize }
  package var logicalBytes: UInt64 { UInt64(geometry.logicalPages) * SSDParameters.pageSize }
}
