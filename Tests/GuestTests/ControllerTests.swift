// `ttblk controller`, with kernels that were started by hand.
import Foundation
import Glibc
import Linux
import Testing

@Suite("ttblk controller") struct ControllerTests {
  private func start(_ folder: Folder, clients: Int, _ more: [String] = []) throws -> Program {
    let program = try folder.start(
      ["controller", "--socket", folder / "c", "--clients", "\(clients)"] + more)
    try program.waitFor(output: "ready")
    return program
  }

  /// A message of the wire protocol: operation, sequence, time.
  private func send(_ operation: UInt32, _ sequence: UInt32, _ time: UInt64, _ socket: borrowing UnixSocket)
    throws
  {
    var bytes = withUnsafeBytes(of: operation.littleEndian) { Array($0) }
    bytes += withUnsafeBytes(of: sequence.littleEndian) { Array($0) }
    bytes += withUnsafeBytes(of: time.littleEndian) { Array($0) }
    let sent = try bytes.withUnsafeBytes { try socket.send($0) }
    try #require(sent == 16)
  }

  /// The controller's next message, whatever it is.
  private func receive(_ socket: borrowing UnixSocket) throws {
    var query = pollfd(fd: socket.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    try #require(poll(&query, 1, 5000) == 1, "the controller says nothing")
    var bytes = [UInt8](repeating: 0, count: 16)
    let received = try bytes.withUnsafeMutableBytes { try socket.receive(into: $0) }
    try #require(received == 16)
  }

  @Test(
    "two kernels sleep side by side in simulated time, in both transports",
    arguments: ["shared-memory", "message"])
  func twoKernels(transport: String) throws {
    let guest = try Guest()
    let folder = try Folder()
    let controller = try start(
      folder, clients: 2,
      ["--transport", transport, "--time-at-start", "1700000000000000000", "--report", "r.toml"])
    let kernels = try [1, 2].map { identifier in
      try guest.start(
        in: folder, name: "k\(identifier)", jobs: ["sleep:--count,2000,--ns,1000000"],
        timeTravel: "ext:\(identifier):\(folder / "c")")
    }
    for kernel in kernels {
      #expect(try kernel.wait() == 0, "\(kernel.output)")
      #expect(kernel.output.contains("sleep count=2000 ns=1000000 total_ns="))
    }
    #expect(kernels[0].output == kernels[1].output)
    #expect(try controller.wait() == 0, "\(controller.error)")
    #expect(controller.error.isEmpty)
    let report = try folder.read("r.toml")
    let time = try #require(report.firstMatch(of: /time = (\d+)/).flatMap { Int($0.1) })
    // Side by side: two seconds and a little, not four.
    #expect((2_000_000_000..<3_000_000_000).contains(time))
    folder.expectNothingLeft()
  }

  @Test("clients that wait for ever end it with 7, and it says who they are")
  func stuck() throws {
    let folder = try Folder()
    let controller = try start(folder, clients: 2, ["--transport", "message"])
    let first = try UnixSocket.connect(to: folder / "c")
    let second = try UnixSocket.connect(to: folder / "c")
    try send(1, 1, 41, first)
    try send(1, 1, 42, second)
    // As an idle kernel without a timer does: REQUEST at the end of time, then WAIT. Each is acknowledged.
    try receive(first)
    try send(2, 2, UInt64(Int64.max), first)
    try receive(first)
    try send(3, 3, .max, first)
    try receive(first)
    try receive(second)
    try send(2, 2, UInt64(Int64.max), second)
    try receive(second)
    try send(3, 3, .max, second)
    #expect(try controller.wait() == 7)
    #expect(controller.error.contains("41") && controller.error.contains("42"), "\(controller.error)")
    #expect(controller.error.contains("nobody can ever run again"), "\(controller.error)")
    _ = consume first
    _ = consume second
    folder.expectNothingLeft()
  }

  @Test("nonsense costs a client its connection with one line, and the others nothing")
  func nonsense() throws {
    let guest = try Guest()
    let folder = try Folder()
    let controller = try start(folder, clients: 1)
    let bad = try UnixSocket.connect(to: folder / "c")
    try send(77, 1, 0, bad)
    try controller.waitFor(error: "77")
    let kernel = try guest.start(in: folder, jobs: ["sleep:--count,100"], timeTravel: "ext:1:\(folder / "c")")
    #expect(try kernel.wait() == 0, "\(kernel.output)")
    #expect(try controller.wait() == 0)
    #expect(controller.error.split(separator: "\n").count == 1, "\(controller.error)")
    _ = consume bad
    folder.expectNothingLeft()
  }

  @Test("a kernel that is killed is left out, and the other one ends well")
  func killedKernel() throws {
    let guest = try Guest()
    let folder = try Folder()
    let controller = try start(folder, clients: 2)
    let first = try guest.start(
      in: folder, name: "k1", jobs: ["sleep:--count,100000000"], timeTravel: "ext:1:\(folder / "c")")
    let second = try guest.start(
      in: folder, name: "k2", jobs: ["sleep:--count,20000"], timeTravel: "ext:2:\(folder / "c")")
    usleep(500_000)
    first.kill()
    #expect(try second.wait() == 0, "\(second.output)")
    #expect(try controller.wait() == 0, "\(controller.error)")
    folder.expectNothingLeft()
  }

  @Test("options without sense, and a taken socket, are one line")
  func refusals() throws {
    let folder = try Folder()
    func expect(_ code: Int32, _ word: String, _ arguments: String...) throws {
      let outcome = try folder.ttblk(["controller"] + arguments)
      #expect(outcome.code == code && outcome.error.contains(word), "\(outcome.error)")
    }
    try expect(64, "--clients 0", "--socket", folder / "c", "--clients", "0")
    try expect(64, "--priority", "--socket", folder / "c", "--clients", "1", "--priority", "1=999")
    try expect(64, "transport", "--socket", folder / "c", "--clients", "1", "--transport", "pigeon")
    let long = folder / String(repeating: "x", count: 120)
    try expect(1, "107", "--socket", long, "--clients", "1")
    let first = try start(folder, clients: 1)
    try expect(1, "is taken", "--socket", folder / "c", "--clients", "1")
    first.signal(SIGTERM)
    #expect(try first.wait() == 0)
    folder.expectNothingLeft()
  }
}
