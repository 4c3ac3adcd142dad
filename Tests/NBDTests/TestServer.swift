// A server in this process.
import BlockDevice
import BlockIO
import DiskImage
import Glibc
import Linux
import Synchronization
import Testing

@testable import NBD

/// Lines that a server said.
final class Lines: Sendable {
  private let lines = Mutex<[String]>([])
  var all: [String] { lines.withLock { $0 } }
  func append(_ line: String) { lines.withLock { $0.append(line) } }
}

/// A loop and its thread.
///
/// `@unchecked`: the loop is made before the thread starts, and is its own from then on.
final class LoopThread: @unchecked Sendable {
  let loop: EventLoop
  private let mailbox: Mailbox
  private let isOver = Atomic(false)
  private var thread: WorkerThread?

  init() throws {
    loop = try EventLoop()
    mailbox = try Mailbox()
    _ = try loop.add(mailbox.descriptor) { [mailbox] in mailbox.drain() }
  }

  func start() throws {
    thread = try WorkerThread("nbd loop") { [self] in
      while !isOver.load(ordering: .acquiring) { _ = try? loop.runOnce() }
    }
  }

  /// Calls `body` while the loop stands still.
  func perform(_ body: () -> Void) { mailbox.perform(body) }

  func end() {
    isOver.store(true, ordering: .releasing)
    mailbox.post {}
    thread?.join()
    thread = nil
    mailbox.close()
  }
}

/// A server with its loop on a thread of its own, over disks in a folder.
///
/// `@unchecked`: the loop's things are made before the thread starts, and taken apart after it has ended.
final class TestServer: @unchecked Sendable {
  let scratch: Scratch
  let devices: [SharedDevice]
  let lines = Lines()
  let address: NBDAddress
  private let loop: LoopThread
  private var server: NBDServer?

  /// - Parameters:
  ///   - disks: names of files in the folder, each the name of an export, too.
  ///   - direct: past the page cache.
  ///   - tls: what clients need TLS for; nil: they need none.
  init(
    _ scratch: Scratch, disks: [String], format: ImageFormat? = .raw, readOnly: Bool = false,
    direct: Bool = false,
    engine: EngineKind = .synchronous, address: NBDAddress? = nil, tls: TLSCredentials.Files? = nil,
    makeEngine: (@Sendable () throws(BlockIOError) -> any QueuedEngine)? = nil
  ) throws {
    self.scratch = scratch
    let registry = FileRegistry()
    var devices: [SharedDevice] = []
    for name in disks {
      let image = try openImage(
        path: scratch.file(name), options: ImageOptions(format: format, readOnly: readOnly),
        registry: registry)
      // Where the file system cannot, the page cache is as good.
      if direct { for file in image.files { try? file.useDirect(unit: 1) } }
      devices.append(SharedDevice(name: name, image: image))
    }
    self.devices = devices
    loop = try LoopThread()
    let make: @Sendable () throws(BlockIOError) -> any QueuedEngine
    if let makeEngine {
      make = makeEngine
    } else {
      make = { () throws(BlockIOError) -> any QueuedEngine in try makeQueuedEngine(engine, depth: 64) }
    }
    let exports = devices.map {
      NBDExport(name: $0.name, device: $0, description: "disk \($0.name)", makeEngine: make)
    }
    let server = try NBDServer(
      listening: address ?? .unix(scratch.file("nbd")), exports: exports, loop: loop.loop,
      credentials: try tls.map { try TLSCredentials($0) }
    ) { [lines] in lines.append($0) }
    self.server = server
    self.address = server.address
    try loop.start()
  }

  deinit { close() }

  /// What the tools call it.
  func uri(_ export: String = "") -> String {
    switch address {
    case .unix(let path): "nbd+unix:///\(export)?socket=\(path)"
    case .tcp(_, let port): "nbd://127.0.0.1:\(port)/\(export)"
    }
  }

  var connectionCount: Int {
    var count = 0
    loop.perform { count = server?.connectionCount ?? 0 }
    return count
  }

  /// Sends everybody away, on the loop's thread, and closes the disks.
  func close() {
    guard server != nil else { return }
    loop.perform { server?.close() }
    loop.end()
    server = nil
    for device in devices {
      do { try device.close() } catch { Issue.record("\(error)") }
    }
  }

  /// Looks again and again, for at most a minute.
  func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<6000 {
      if condition() { return true }
      usleep(10_000)
    }
    return condition()
  }
}
