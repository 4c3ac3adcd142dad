// Memory of a connection.
import Glibc
import Linux
import Simulation
import Testing

@testable import NBD

@Suite("Memory of a connection") struct BufferTests {
  @Test func `a pool is aligned, bounded, and always has one piece`() {
    let budget = MemoryBudget()
    var first = BufferPool(budget)
    var taken: [PooledBuffer] = []
    while let piece = first.take(1 << 20) { taken.append(piece) }
    #expect(taken.count == Limits.bytesUnderWayMax >> 20)
    #expect(taken.allSatisfy { UInt(bitPattern: $0.memory) % 4096 == 0 })
    #expect(Set(taken.map(\.memory)).count == taken.count)
    for piece in taken { first.give(piece) }
    #expect(first.bytesTaken == 0)
    let again = first.take((1 << 20) - 5)
    #expect(taken.contains { $0.memory == again?.memory }, "what was given back is used again")
    if let again { first.give(again) }
    // Others have everything: still there is one.
    budget.takeAnyway(Limits.bytesUnderWayTotal)
    let last = first.take(32 << 20)
    #expect(last != nil)
    #expect(first.take(1) == nil)
    if let last { first.give(last) }
    budget.give(Limits.bytesUnderWayTotal)
    #expect(budget.take(Limits.bytesUnderWayTotal))
    #expect(!budget.take(1))
  }

  @Test func `every length has a piece that is long enough`() {
    var pool = BufferPool(MemoryBudget())
    for bits in 0...25 {
      for count in [(1 << bits) - 1, 1 << bits, (1 << bits) + 1] where count <= 32 << 20 {
        guard let piece = pool.take(count) else {
          Issue.record("nothing for \(count)")
          continue
        }
        memset(piece.memory, 1, count)
        pool.give(piece)
      }
    }
    #expect(pool.bytesTaken == 0)
  }

  @Test func `a queue sends everything in order, however little is taken`() throws {
    var random = RandomStream(seed: 3, name: "queue")
    let (reader, writer) = try Self.sockets()
    defer {
      close(reader)
      close(writer)
    }
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { memory.deallocate() }
    for index in memory.indices { memory[index] = UInt8(truncatingIfNeeded: index &* 7 >> 3) }
    var queue = SendQueue()
    var expected: [UInt8] = []
    var received: [UInt8] = []
    var released: [Int] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    var next = 0
    var isBlocked = false
    while next < 500 || !queue.isEmpty {
      if next < 500, next - released.count < Limits.depthMax {
        for _ in 0...Int(random.next() % 4) {
          let start = Int(random.next() % 900_000)
          let count = 1 + Int(random.next() % 50_000)
          queue.append(memory.baseAddress! + start, count)
          expected += memory[start..<start + count]
        }
        queue.append(memory.baseAddress!, 1, last: next)
        expected.append(memory[0])
        next += 1
      }
      let sent = queue.send(to: writer) { released.append($0) }
      isBlocked = isBlocked || sent == .blocked
      let count = recv(reader, &buffer, 1 + Int(random.next() % 65536), UnixSocket.withoutWaiting)
      if count > 0 { received += buffer[..<count] }
    }
    while true {
      let count = recv(reader, &buffer, buffer.count, UnixSocket.withoutWaiting)
      guard count > 0 else { break }
      received += buffer[..<count]
    }
    #expect(isBlocked)
    #expect(received == expected)
    #expect(released == Array(0..<500))
  }

  private static func sockets() throws -> (CInt, CInt) {
    var ends: (CInt, CInt) = (-1, -1)
    try UnixSocket.pair().split { ends = ($0.release(), $1.release()) }
    return ends
  }
}
