// Servers of disks that are killed, and what their clients had been told.
import Foundation
import Glibc
import Linux
import Simulation
import Testing

@Suite("SIGKILL of ttblk serve", .serialized) struct JournalKillTests {
  private let kills = 12

  @Test(
    "loses nothing that was completed, flushed or not",
    arguments: ["cow", "qcow2"], ["", ",engine=threads", ",direct", ",direct,engine=libaio"])
  func kill(format: String, keys: String) throws {
    let folder = try Folder()
    let journals = try makeTemporaryDirectory(under: "/dev/shm", prefix: "ttg-")
    defer { removeTree(journals) }
    let disk = StampedDisk(sectors: 48 << 11, seed: 1, name: "kill \(format)\(keys)")
    let base = try folder.makeImage("base", size: disk.sectorCount * 512)
    let image: String
    if format == "cow" {
      image = try folder.makeOverlay("image", on: base)
    } else {
      try folder.shell("qemu-img create -q -f qcow2 -b base -F raw image")
      image = folder / "image"
    }
    let option = "name=d,image=\(image),nbd=unix:\(folder / "s")\(keys)"
    var takenOver = 0
    var last: Program?
    for round in 0..<kills {
      let serve = try folder.start(["serve", "--disk", option, "--journal", journals])
      last = serve
      try serve.waitFor(output: "ready")
      let client = try NBDClient(folder / "s", name: "d")
      if round > 0 { try disk.expect(client, "round \(round)") }
      try disk.load(client) { serve.signal(SIGKILL) }
      #expect(try serve.wait() == 128 + SIGKILL)
      if serve.error.contains("took over") { takenOver += 1 }
    }
    // Looking changes nothing, and says what is missing, as soon as the kernel has let go what was killed.
    try #require(last).waitUntil("left nothing") {
      try folder.ttblk("image", "info", image).output.contains("a killed server had not flushed")
    }
    let repair = try folder.ttblk("image", "repair", image)
    #expect(repair.code == 0, "\(repair.error)")
    #expect(try directoryEntries(journals).isEmpty)
    let serve = try folder.start(["serve", "--disk", option, "--journal", "none"])
    try serve.waitFor(output: "ready")
    try disk.expect(try NBDClient(folder / "s", name: "d"), "end")
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0)
    #expect(takenOver > kills / 2, "\(takenOver)")
    if format == "qcow2" { try folder.shell("qemu-img check -q -f qcow2 image || test $? = 3") }
    try folder.expectValid(image)
  }
}

/// A disk each of whose sectors says what was last written to it.
private final class StampedDisk {
  let sectorCount: Int
  private var settled: [UInt64]
  private var attempted: [Int: UInt64] = [:]
  private var random: RandomStream
  private var stamp: UInt64 = 0

  init(sectors: Int, seed: UInt64, name: String) {
    sectorCount = sectors
    settled = Array(repeating: 0, count: sectors)
    random = RandomStream(seed: seed, name: name)
  }

  private struct Write {
    let sectors: Range<Int>
    let stamp: UInt64
  }

  /// Keeps the disk busy until the server has gone.
  /// - Parameter kill: called at some moment.
  func load(_ client: NBDClient, kill: () -> Void) throws {
    var pending: [UInt64: Write?] = [:]
    var countdown = 1 + Int(random.next() % 400)
    do {
      while true {
        while pending.count < 16 { try ask(client, &pending) }
        let cookie = try client.reply()
        if case let write?? = pending.removeValue(forKey: cookie) {
          for sector in write.sectors {
            settled[sector] = write.stamp
            attempted[sector] = nil
          }
        }
        countdown -= 1
        if countdown == 0 { kill() }
      }
    } catch is NBDClient.Gone {
      if countdown > 0 { throw RigError("the server went by itself") }
    }
  }

  private func ask(_ client: NBDClient, _ pending: inout [UInt64: Write?]) throws {
    stamp += 1
    let cookie = stamp
    if random.next() % 60 == 0 {
      pending[cookie] = .some(nil)
      return try client.send(.flush, cookie, 0, 0)
    }
    let unit = random.next() % 3 == 0 ? 1 : 8
    let start = Int(random.next() % UInt64(sectorCount)) / unit * unit
    let end = min(sectorCount, start + unit * Int(1 + random.next() % 12))
    // What is under way is left alone: of two writes at once either may be the last.
    guard !(start..<end).contains(where: { attempted[$0] != nil }) else { return }
    let isZero = random.next() % 8 == 0
    let write = Write(sectors: start..<end, stamp: isZero ? 0 : stamp)
    for sector in write.sectors { attempted[sector] = write.stamp }
    pending[cookie] = write
    let count = write.sectors.count * 512
    if isZero {
      try client.send(random.next() % 2 == 0 ? .trim : .zero, cookie, start * 512, count)
    } else {
      var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: stamp), count: count)
      for index in 0..<write.sectors.count {
        bytes.withUnsafeMutableBytes {
          $0.storeBytes(of: write.stamp, toByteOffset: index * 512, as: UInt64.self)
        }
      }
      try client.send(.write, cookie, start * 512, count, bytes)
    }
  }

  /// All that was completed is there; of what was under way, either.
  func expect(_ client: NBDClient, _ comment: String) throws {
    var position = 0
    var wrong = 0
    while position < sectorCount {
      let count = min(2048, sectorCount - position)
      try client.send(.read, 1, position * 512, count * 512)
      _ = try client.reply()
      let bytes = try client.receive(count * 512)
      for index in 0..<count {
        let sector = position + index
        let found = bytes.withUnsafeBytes { $0.load(fromByteOffset: index * 512, as: UInt64.self) }
        let last = bytes[index * 512 + 511]
        let isWhole = last == UInt8(truncatingIfNeeded: found)
        if !isWhole || (found != settled[sector] && found != attempted[sector]) { wrong += 1 }
        settled[sector] = found
      }
      position += count
    }
    attempted = [:]
    #expect(wrong == 0, "\(comment): \(wrong) sectors lost")
  }
}

/// As much of an NBD client as that takes.
private final class NBDClient {
  struct Gone: Error {}
  enum Kind: UInt16 { case read, write, disconnect, flush, trim, cache, zero }

  private let socket: CInt

  init(_ path: String, name: String) throws {
    socket = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let socket = self.socket
    let code = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard code == 0 else { throw RigError("cannot connect to \(path)") }
    _ = try receive(18)
    // EXPORT_NAME, without the zeros.
    try send(big(UInt32(3)) + Array("IHAVEOPT".utf8) + big(UInt32(1)) + big(UInt32(name.utf8.count)))
    try send(Array(name.utf8))
    _ = try receive(10)
  }

  deinit { close(socket) }

  private func big<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
  }

  func send(_ kind: Kind, _ cookie: UInt64, _ offset: Int, _ count: Int, _ bytes: [UInt8] = []) throws {
    try send(
      big(UInt32(0x2560_9513)) + big(UInt16(0)) + big(kind.rawValue) + big(cookie) + big(UInt64(offset))
        + big(UInt32(count)) + bytes)
  }

  /// - Returns: the cookie of what was done.
  func reply() throws -> UInt64 {
    let bytes = try receive(16)
    guard bytes[0..<8] == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0] else { throw RigError("refused: \(bytes)") }
    return bytes[8...].reduce(0) { $0 << 8 | UInt64($1) }
  }

  private func send(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(socket, $0.baseAddress.map { $0 + done }, $0.count - done, CInt(MSG_NOSIGNAL))
      }
      guard count > 0 else { throw Gone() }
      done += count
    }
  }

  func receive(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let received = bytes.withUnsafeMutableBytes {
        recv(socket, $0.baseAddress.map { $0 + done }, $0.count - done, 0)
      }
      guard received > 0 else { throw Gone() }
      done += received
    }
    return bytes
  }
}
