// Discards and zeroes.
import BlockIO
import DiskImage
import Glibc
import Linux

extension Lane {
  /// Makes the next piece of a range zeros, or ends with it.
  ///
  /// Whole pages become holes or keep their space; what is left at either end is written.
  func startZeroing(_ slot: Int) {
    let entry = slots.slots[slot]
    let position = entry.zeroed
    let end = entry.request.offset + entry.request.length
    let unmaps = entry.request.operation == .discard || entry.request.mayUnmap
    if unmaps, device.files[0].refusesToUnmap { device.stopOfferingDiscard() }
    guard position < end else { return finishChange(slot) }
    guard let granularity = device.zeroGranularity else { return zeroThroughImage(slot) }
    let kind = unmaps ? IOOperation.Kind.zeroAndUnmap : .zero
    let stop = min(end, position + zeroStep(unmaps))
    if let file = device.plainFile {
      slots.slots[slot].pieceEnd = stop
      slots.slots[slot].step = .moving
      return enqueue(kind, slot, file, at: position, count: stop - position)
    }
    let page = position - position % granularity
    let next = min(page + granularity, device.size)
    if position > page || end < next {
      slots.slots[slot].pieceEnd = min(next, end)
      return withZeros(slot) { change(slot, position..<min(next, end), .write, $0) }
    }
    let pieceEnd = stop == device.size ? stop : stop - stop % granularity
    slots.slots[slot].pieceEnd = pieceEnd
    change(slot, position..<pieceEnd, kind, UnsafeBufferPointer(start: nil, count: 0))
  }

  /// Where zeros must be written, few at a time: others wait for the pages.
  private func zeroStep(_ unmaps: Bool) -> UInt64 {
    let file = device.files[0]
    let isWritten = unmaps ? file.refusesToUnmap : file.refusesToZero
    return isWritten ? Limits.zeroBytesPerWrittenStep : Limits.zeroBytesPerStep
  }

  /// As many zeros as the piece of less than a page has.
  func withZeros(_ slot: Int, _ body: (UnsafeBufferPointer<iovec>) -> Void) {
    let entry = slots.slots[slot]
    var part = zeros.part(entry.pieceEnd - entry.zeroed)
    withUnsafePointer(to: &part) { body(UnsafeBufferPointer(start: $0, count: 1)) }
  }

  /// Lets the image do it, which knows better, piece by piece.
  private func zeroThroughImage(_ slot: Int) {
    var isWaiting = false
    do throws(DiskImageError) {
      isWaiting = try device.lock { () throws(DiskImageError) in
        guard !holdBack(slot) else { return true }
        if device.image.changesNeedQuiet, waitForQuiet(slot) { return true }
        try zeroPiece(slot)
        return false
      }
    } catch { return fail(slot, error) }
    if isWaiting { slots.slots[slot].step = .waiting } else { finishImagePiece(slot) }
  }

  /// Under the lock.
  func zeroPiece(_ slot: Int) throws(DiskImageError) {
    let entry = slots.slots[slot]
    let end = entry.request.offset + entry.request.length
    let step = Limits.zeroBytesPerStep
    let piece = entry.zeroed..<min(end, entry.zeroed - entry.zeroed % step + step)
    slots.slots[slot].pieceEnd = piece.upperBound
    if entry.request.operation == .discard {
      try device.image.discard(piece)
    } else {
      try device.image.writeZeroes(piece, unmap: entry.request.mayUnmap)
    }
  }

  /// The engine, and other requests, have their turn before the next piece.
  func finishImagePiece(_ slot: Int) {
    let entry = slots.slots[slot]
    slots.slots[slot].zeroed = entry.pieceEnd
    guard entry.pieceEnd < entry.request.offset + entry.request.length else { return finishChange(slot) }
    slots.slots[slot].step = .waiting
    unfinished.append(.replan(slot: slot))
  }
}
