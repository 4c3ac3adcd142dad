// From what came of a request to bytes.
import BlockDevice
import DiskImage
import Glibc

extension Transmission {
  /// The disk has an answer.
  func finish(_ completion: BlockCompletion) {
    let request = Int(completion.tag)
    switch completion.status {
    case .ok where requests[request].command == .read: finishRead(request)
    case .ok: succeed(request)
    case .unsupported: fail(request, RequestRefusal(.notSupported, "the disk cannot do that"))
    case .ioError: fail(request, RequestRefusal(ErrorCode(host: completion.code), "the disk has failed"))
    }
  }

  /// Success, without data: a simple reply, which structured ones do not exclude.
  func succeed(_ request: Int) {
    let head = requests.head(request)
    Reply.writeSimple(head, cookie: requests[request].cookie, error: nil)
    output.append(head, Reply.simpleByteCount, last: request)
  }

  func fail(_ request: Int, _ refusal: RequestRefusal) {
    let head = requests.head(request)
    let cookie = requests[request].cookie
    var count = Reply.simpleByteCount
    if rules.hasStructuredReplies {
      count = Reply.writeError(head, cookie: cookie, refusal.code, refusal.text)
    } else {
      Reply.writeSimple(head, cookie: cookie, error: refusal.code)
    }
    output.append(head, count, last: request)
  }

  /// The bytes are there. ("NBD_CMD_READ")
  func finishRead(_ request: Int) {
    let entry = requests[request]
    let head = requests.head(request)
    let count = Int(entry.length)
    if !rules.hasStructuredReplies {
      Reply.writeSimple(head, cookie: entry.cookie, error: nil)
      append(head, Reply.simpleByteCount, entry.buffer?.memory, count, last: request)
    } else if count == 0 {
      // A chunk with data has at least one byte.
      Reply.writeChunk(head, .none, cookie: entry.cookie, length: 0, isLast: true)
      output.append(head, Reply.chunkByteCount, last: request)
    } else if entry.chunkCount == 0 {
      Reply.writeData(head, cookie: entry.cookie, offset: entry.offset, count: entry.length, isLast: true)
      append(head, Reply.dataByteCount, entry.buffer?.memory, count, last: request)
    } else {
      sendChunks(request)
    }
  }

  private func sendChunks(_ request: Int) {
    let entry = requests[request]
    let chunks = requests.chunks(request)
    var head = requests.head(request)
    var done: UInt32 = 0
    for index in 0..<entry.chunkCount {
      let chunk = chunks[index]
      let isLast = index == entry.chunkCount - 1
      let offset = entry.offset + UInt64(done)
      if chunk.isHole {
        Reply.writeHole(head, cookie: entry.cookie, offset: offset, count: chunk.count, isLast: isLast)
        output.append(head, Reply.holeByteCount, last: isLast ? request : nil)
      } else {
        Reply.writeData(head, cookie: entry.cookie, offset: offset, count: chunk.count, isLast: isLast)
        append(
          head, Reply.dataByteCount, entry.buffer.map { $0.memory + Int(done) }, Int(chunk.count),
          last: isLast ? request : nil)
      }
      head += Reply.holeByteCount
      done += chunk.count
    }
  }

  private func append(
    _ head: UnsafeMutableRawPointer, _ headCount: Int, _ data: UnsafeMutableRawPointer?, _ count: Int,
    last request: Int?
  ) {
    guard let data, count > 0 else { return output.append(head, headCount, last: request) }
    output.append(head, headCount)
    output.append(data, count, last: request)
  }

  /// The context's number, and a descriptor for each stretch.
  static let statusBytesMax = 4 + 8 * Limits.descriptorsMax

  /// Says what a range is made of. ("NBD_CMD_BLOCK_STATUS")
  func answerStatus(_ request: Int, limit: Int) {
    let entry = requests[request]
    guard let memory = entry.buffer?.memory else { preconditionFailure("a question without memory") }
    extents.removeAll(keepingCapacity: true)
    do throws(DiskImageError) {
      try finder.find(entry.offset..<entry.offset + UInt64(entry.length), limit: limit, into: &extents)
    } catch {
      return fail(request, RequestRefusal(.io, "the disk has failed"))
    }
    memory.storeBig(AllocationContext.identifier, at: 0)
    var count = 4
    for extent in extents {
      var state: UInt32 = 0
      if extent.isHole { state |= AllocationState.hole }
      if extent.isZero { state |= AllocationState.zero }
      memory.storeBig(UInt32(extent.count), at: count)
      memory.storeBig(state, at: count + 4)
      count += 8
    }
    let head = requests.head(request)
    Reply.writeChunk(head, .blockStatus, cookie: entry.cookie, length: UInt32(count), isLast: true)
    append(head, Reply.chunkByteCount, memory, count, last: request)
  }
}

extension ErrorCode {
  /// What a value of `errno` is on the wire ("Error values").
  init(host code: CInt) {
    switch code {
    case EPERM, EACCES, EROFS: self = .notPermitted
    case ENOMEM: self = .noMemory
    case EINVAL: self = .invalid
    case ENOSPC, EDQUOT, EFBIG: self = .noSpace
    case EOPNOTSUPP: self = .notSupported
    default: self = .io
    }
  }
}
