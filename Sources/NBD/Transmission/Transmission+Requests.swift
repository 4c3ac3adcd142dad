// From bytes to requests of the disk.
import BlockDevice
import DiskImage
import Glibc

extension Transmission {
  /// Takes what has come, as far as there is room for it.
  func parse() {
    needsRoom = false
    while phase == .serving, !needsRoom {
      switch reading {
      case .header:
        guard input.count >= RequestHeader.byteCount else { return }
        guard !requests.isFull else {
          needsRoom = true
          return
        }
        parseHeader()
      case .payload(let request, var count):
        let entry = requests[request]
        guard let buffer = entry.buffer else { preconditionFailure("a write without memory") }
        count += input.move(to: buffer.memory + count, Int(entry.length) - count)
        guard count == Int(entry.length) else {
          reading = .payload(request: request, count: count)
          return
        }
        reading = .header
        submit(request, .write)
      case .skipping(let request, let left, let refusal):
        let count = min(left, UInt32(clamping: input.count))
        input.consume(Int(count))
        guard count == left else {
          reading = .skipping(request: request, left: left - count, refusal)
          return
        }
        reading = .header
        fail(request, refusal)
      }
    }
  }

  /// There is a header, and room for a reply.
  private func parseHeader() {
    rules.size = device.size
    let parsed = input.withBytes(RequestHeader.byteCount) { bytes -> Result<RequestHeader, ProtocolError> in
      do throws(ProtocolError) { return .success(try RequestHeader(parsing: bytes)) } catch {
        return .failure(error)
      }
    }
    guard case .success(let header) = parsed else {
      if case .failure(let error) = parsed { end("\(error)") }
      return
    }
    var verdict = header.verdict(rules)
    if isStopping, case .perform(let command) = verdict, command != .disconnect {
      verdict = .refuse(
        RequestRefusal(.shutdown, "the server is shut down"),
        payload: command == .write ? header.length : 0)
    }
    switch verdict {
    case .disconnect(let reason): end(reason)
    case .refuse(let refusal, let payload):
      input.consume(RequestHeader.byteCount)
      let request = requests.take(header, Command(rawValue: header.command) ?? .read, nil)
      if payload > 0 {
        reading = .skipping(request: request, left: payload, refusal)
      } else {
        fail(request, refusal)
      }
    case .perform(.disconnect): end(nil)
    case .perform(let command): begin(header, command)
    }
  }

  /// Begins with a request if there is memory for it; otherwise its header stays where it is.
  private func begin(_ header: RequestHeader, _ command: Command) {
    let request = requests.take(header, command, nil)
    var count = 0
    switch command {
    case .read:
      if rules.hasStructuredReplies, !header.flags.contains(.df), header.length >= Limits.holeSearchMin {
        findHoles(request)
      }
      count = isAllHoles(request) ? 0 : Int(header.length)
    case .write: count = Int(header.length)
    case .blockStatus: count = Transmission.statusBytesMax
    case .disconnect, .flush, .trim, .cache, .writeZeroes: break
    }
    if count > 0 {
      guard let buffer = pool.take(count) else {
        requests.release(request)
        needsRoom = true
        return
      }
      requests[request].buffer = buffer
    }
    input.consume(RequestHeader.byteCount)
    if command == .write, count > 0 {
      reading = .payload(request: request, count: 0)
    } else {
      submit(request, command)
    }
  }

  /// Hands a request to the disk, or answers it at once.
  private func submit(_ request: Int, _ command: Command) {
    let flags = requests[request].flags
    switch command {
    case .read where isAllHoles(request): finishRead(request)
    case .read: pass(request, .read)
    case .write: pass(request, .write, isDurable: flags.contains(.fua))
    case .flush: pass(request, .flush)
    // It is a hint: what cannot be done is left undone.
    case .trim where !device.offersDiscard: succeed(request)
    case .trim: pass(request, .discard, isDurable: flags.contains(.fua))
    case .writeZeroes:
      let keepsSpace = flags.contains(.noHole)
      if flags.contains(.fastZero), !device.zeroesFast(keepingSpace: keepsSpace) {
        return fail(request, RequestRefusal(.notSupported, "zeros would have to be written"))
      }
      pass(request, .writeZeroes, mayUnmap: !keepsSpace, isDurable: flags.contains(.fua))
    case .cache:
      let entry = requests[request]
      finder.prefetch(entry.offset..<entry.offset + UInt64(entry.length))
      succeed(request)
    case .blockStatus: answerStatus(request, limit: flags.contains(.reqOne) ? 1 : Limits.descriptorsMax)
    case .disconnect: preconditionFailure("a disconnect is no request")
    }
  }

  private func pass(
    _ request: Int, _ operation: BlockRequest.Operation, mayUnmap: Bool = false, isDurable: Bool = false
  ) {
    let entry = requests[request]
    let block = BlockRequest(
      operation: operation, offset: entry.offset, length: UInt64(entry.length), mayUnmap: mayUnmap,
      isDurable: isDurable, tag: UInt64(request))
    guard let buffer = entry.buffer else {
      return lane.submit(block, data: UnsafeBufferPointer(start: nil, count: 0), at: hostTime())
    }
    // SAFETY: the list is the lane's during the call only; the memory is the request's until its reply has
    // gone.
    var part = iovec(iov_base: buffer.memory, iov_len: Int(entry.length))
    withUnsafePointer(to: &part) {
      lane.submit(block, data: UnsafeBufferPointer(start: $0, count: 1), at: hostTime())
    }
  }

  /// Looks which pieces of a read need not be sent; where there are none, or too many, all are.
  private func findHoles(_ request: Int) {
    let entry = requests[request]
    extents.removeAll(keepingCapacity: true)
    let range = entry.offset..<entry.offset + UInt64(entry.length)
    // Whoever reads the range hears of the failure.
    guard (try? finder.find(range, limit: Limits.chunksMax + 1, missesNewHoles: true, into: &extents)) != nil,
      extents.reduce(0, { $0 + $1.count }) == UInt64(entry.length),
      extents.contains(where: \.isZero)
    else { return }
    let chunks = requests.chunks(request)
    var count = 0
    for extent in extents {
      // Zeros with and without space are the same to a reader.
      if count > 0, chunks[count - 1].isHole == extent.isZero {
        chunks[count - 1].count += UInt32(extent.count)
      } else {
        guard count < Limits.chunksMax else { return }
        chunks[count] = ReadChunk(count: UInt32(extent.count), isHole: extent.isZero)
        count += 1
      }
    }
    requests[request].chunkCount = count
  }

  private func isAllHoles(_ request: Int) -> Bool {
    requests[request].chunkCount == 1 && requests.chunks(request)[0].isHole
  }
}
