// What of a disk with faults is durable, and when.
import DiskImage
import Glibc
import Simulation

extension FaultyDisk {
  /// A flush is submitted.
  func flush(_ sequence: UInt64, lies: Bool) throws(DiskImageError) {
    guard cache != nil else {
      if !lies, !image.isReadOnly { try image.flush() }
      return
    }
    covers[sequence] = .some(lies ? nil : completions)
  }

  /// A request completes: a flush makes durable what was complete before it was submitted, a forced write
  /// itself.
  /// - Returns: its status.
  package func complete(
    _ request: BlockRequest, sequence: UInt64, status: BlockStatus, isForced: Bool
  ) -> BlockStatus {
    guard cache != nil else { return status }
    completions += 1
    cache?.complete(sequence, completion: completions)
    guard status == .ok else { return status }
    switch request.operation {
    case .flush:
      guard let cover = covers.removeValue(forKey: sequence) ?? nil else { return status }
      return makeDurable { $0.completion.map { $0 <= cover } ?? false } ? .ok : .ioError
    case .write, .discard, .writeZeroes:
      guard isForced else { return status }
      return makeDurable { $0.sequence == sequence } ? .ok : .ioError
    case .read: return status
    }
  }

  private func makeDurable(_ isCovered: (VolatileWrite) -> Bool) -> Bool {
    persist(cache?.take(where: isCovered) ?? [])
    guard !cannotPersist else { return false }
    guard !image.isReadOnly else { return true }
    do throws(DiskImageError) {
      try image.flush()
      return true
    } catch {
      report("disk '\(name)': flush failed: \(error)")
      return false
    }
  }

  /// Writes changes to the image. After a failure no flush succeeds any more: something may be missing.
  func persist(_ writes: [VolatileWrite]) {
    for write in writes { persist(write.content, write.range) }
  }

  private func persist(_ content: VolatileWrite.Content, _ range: Range<UInt64>) {
    do throws(DiskImageError) { try image.apply(content, range) } catch {
      if !cannotPersist {
        report("disk '\(name)': writing back \(range.count) bytes at \(range.lowerBound) failed: \(error)")
      }
      cannotPersist = true
    }
  }

  /// Writes everything back: an orderly end.
  func writeBack() { persist(cache?.takeAll() ?? []) }

  /// The power goes: what survives of the cache reaches the medium, the rest is lost.
  /// - Parameter replaying: a decision of an earlier run; `.some(nil)` if that has none.
  func losePower(_ armed: ArmedFault, replaying: FaultRecord??) -> [FaultRecord.Parameter] {
    let writes = cache?.takeAll() ?? []
    covers.removeAll()
    let survivors: [Survivor]
    if let replaying {
      survivors = Self.survivors(replaying?.numbers("kept") ?? [])
    } else {
      survivors = armed.fault.survivors(among: writes, stream: armed.stream)
    }
    var bySequence: [UInt64: VolatileWrite] = [:]
    for write in writes { bySequence[write.sequence] = write }
    for survivor in survivors {
      guard let write = bySequence[survivor.sequence], survivor.range.upperBound <= write.count else {
        continue
      }
      persist(
        write.content.part(survivor.range),
        write.range.lowerBound + survivor.range.lowerBound..<write.range.lowerBound
          + survivor.range.upperBound)
    }
    do throws(DiskImageError) { if !image.isReadOnly { try image.flush() } } catch {
      report("disk '\(name)': what survives the power cut may be lost: \(error)")
    }
    return [
      .init("volatile", [UInt64(writes.count)]),
      .init(
        "kept",
        survivors.flatMap { [$0.sequence, $0.range.lowerBound, $0.range.upperBound - $0.range.lowerBound] }),
    ]
  }

  private static func survivors(_ numbers: [UInt64]) -> [Survivor] {
    stride(from: 0, to: numbers.count - numbers.count % 3, by: 3).compactMap {
      let (end, overflow) = numbers[$0 + 1].addingReportingOverflow(numbers[$0 + 2])
      guard !overflow, numbers[$0 + 2] > 0 else { return nil }
      return Survivor(sequence: numbers[$0], range: numbers[$0 + 1]..<end)
    }
  }
}

extension VolatileWrite.Content {
  /// A piece of it.
  fileprivate func part(_ range: Range<UInt64>) -> VolatileWrite.Content {
    guard case .bytes(let bytes) = self else { return self }
    return .bytes(Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
  }
}
