// Threads, and work for them.
import Glibc
import Linux
import Synchronization
import Testing

@Suite struct ThreadTests {
  /// A thread that carries out what its mailbox brings until it is told to stop.
  private final class Owner: Sendable {
    let mailbox: Mailbox
    let isStopping = Atomic(false)
    let rounds = Atomic(0)

    init() throws { mailbox = try Mailbox() }

    func run() {
      while !isStopping.load(ordering: .acquiring) {
        guard waitReadable(mailbox.descriptor) else { return }
        rounds.add(1, ordering: .relaxed)
        mailbox.drain()
      }
      mailbox.close()
    }
  }

  @Test("a thread runs its closure, and the owner waits for it") func thread() throws {
    let done = Atomic(0)
    let thread = try WorkerThread("a name that is far too long") { done.store(1, ordering: .releasing) }
    thread.join()
    #expect(done.load(ordering: .acquiring) == 1)
  }

  @Test("what is performed has been done on the other thread; what is posted comes in order")
  func mailbox() throws {
    let owner = try Owner()
    let log = Mutex([Int]())
    // Before the owner looks for the first time.
    owner.mailbox.post { log.withLock { $0.append(0) } }
    let thread = try WorkerThread("owner") { owner.run() }
    for round in 1...100 {
      owner.mailbox.post { log.withLock { $0.append(round) } }
      let before = owner.rounds.load(ordering: .relaxed)
      owner.mailbox.perform {
        #expect(log.withLock { $0.count } == round + 1)
        #expect(owner.rounds.load(ordering: .relaxed) <= before + 2)
      }
    }
    owner.mailbox.post { owner.isStopping.store(true, ordering: .releasing) }
    thread.join()
    #expect(log.withLock { $0 } == Array(0...100))
    // Nobody is there any more: the sender does it.
    var isDone = false
    owner.mailbox.perform { isDone = true }
    #expect(isDone)
    owner.mailbox.post { log.withLock { $0.append(101) } }
    #expect(log.withLock { $0.count } == 102)
  }

  @Test("several senders at once lose nothing") func manySenders() throws {
    let owner = try Owner()
    let count = Atomic(0)
    let thread = try WorkerThread("owner") { owner.run() }
    let senders = try (0..<4).map { number in
      try WorkerThread("sender \(number)") {
        for round in 0..<500 {
          if round % 2 == 0 {
            owner.mailbox.post { count.add(1, ordering: .relaxed) }
          } else {
            owner.mailbox.perform { count.add(1, ordering: .relaxed) }
          }
        }
      }
    }
    for sender in senders { sender.join() }
    owner.mailbox.perform { owner.isStopping.store(true, ordering: .releasing) }
    thread.join()
    #expect(count.load(ordering: .relaxed) == 2000)
  }
}
