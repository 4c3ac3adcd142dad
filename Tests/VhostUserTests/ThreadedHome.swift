// A thread that serves rings: what a queue thread does, without a disk.
import CLinux
import Glibc
import Linux
import Synchronization
import VhostUser

/// Takes chains on a thread of its own, and answers them at once, later, or when it is told to.
///
/// `@unchecked`: what the thread uses is changed by the thread, or while it waits in `perform`.
final class ThreadedHome: RingHome, @unchecked Sendable {
  enum Manner { case answer, hold, reverse }

  private struct Held {
    var queue: Virtqueue
    var head: UInt16
    var written: UInt32
    var status: UnsafeMutableRawPointer?
  }

  private let bell = eventfd(0, 0)
  private let done = eventfd(0, 0)
  /// Handed over by `bell`, and back by `done`.
  private var job: (() -> Void)?
  private var thread = pthread_t()
  private var isEnding = false
  private var queues: [Virtqueue] = []
  private var deaf: Set<Int> = []
  private var held: [Held] = []

  var manner = Manner.answer
  /// Called on the thread for every chain.
  var onChain: ((Chain) -> Void)?
  let served = Atomic(0)
  let waits = Atomic(0)
  let starts = Atomic(0)

  init() {
    let me = Unmanaged.passRetained(self).toOpaque()
    pthread_create(
      &thread, nil,
      { raw in
        if let raw { Unmanaged<ThreadedHome>.fromOpaque(raw).takeRetainedValue().run() }
        return nil
      }, me)
  }

  /// Ends the thread.
  func end() {
    perform { isEnding = true }
    pthread_join(thread, nil)
    close(bell)
    close(done)
  }

  var heldCount: Int {
    var count = 0
    perform { count = held.count }
    return count
  }

  /// Answers what is held.
  func answerHeld() { perform { answerAll() } }

  func start(_ queue: Virtqueue) {
    starts.add(1, ordering: .relaxed)
    perform { queues.append(queue) }
  }

  func stop(_ queue: Virtqueue) {
    perform {
      for one in held where one.queue === queue { answer(one) }
      held.removeAll { $0.queue === queue }
      queue.publishAndSignal()
      queues.removeAll { $0 === queue }
      deaf.remove(queue.index)
    }
  }

  func perform(_ body: () -> Void) {
    withoutActuallyEscaping(body) { body in
      job = body
      var one: UInt64 = 1
      _ = write(bell, &one, 8)
      _ = read(done, &one, 8)
    }
  }

  private func run() {
    while !isEnding {
      for queue in queues { serve(queue) }
      waits.add(1, ordering: .relaxed)
      var descriptors = [pollfd(fd: bell, events: Int16(POLLIN), revents: 0)]
      for queue in queues {
        let descriptor = deaf.contains(queue.index) ? -1 : queue.kickDescriptor
        descriptors.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
      }
      guard poll(&descriptors, nfds_t(descriptors.count), -1) > 0 else { continue }
      for (position, queue) in queues.enumerated() where descriptors[position + 1].revents != 0 {
        if !queue.takeKick() { deaf.insert(queue.index) }
      }
      guard descriptors[0].revents != 0 else { continue }
      var count: UInt64 = 0
      _ = read(bell, &count, 8)
      job?()
      job = nil
      count = 1
      _ = write(done, &count, 8)
    }
  }

  private func serve(_ queue: Virtqueue) {
    while let chain = queue.nextChain() {
      served.add(1, ordering: .relaxed)
      onChain?(chain)
      held.append(
        Held(
          queue: queue, head: chain.head, written: UInt32(chain.writableCount), status: chain.lastWritable))
      switch manner {
      case .answer: answerAll()
      case .hold: break
      case .reverse: if held.count >= 3 { answerAll() }
      }
    }
    if manner == .reverse { answerAll() }
    queue.publishAndSignal()
  }

  private func answerAll() {
    for one in held.reversed() { answer(one) }
    held.removeAll()
    for queue in queues { queue.publishAndSignal() }
  }

  private func answer(_ one: Held) {
    one.status?.storeBytes(of: 0, as: UInt8.self)
    one.queue.complete(head: one.head, written: one.written)
  }
}
