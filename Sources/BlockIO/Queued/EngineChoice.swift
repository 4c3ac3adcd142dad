// Which engine for which file.
import Linux

/// Makes an engine.
/// - Parameter depth: how many operations are with the kernel at most; others wait inside.
package func makeQueuedEngine(_ kind: EngineKind, depth: Int) throws(BlockIOError) -> any QueuedEngine {
  try makeQueuedEngine(kind, depth: depth, mischief: nil)
}

func makeQueuedEngine(
  _ kind: EngineKind, depth: Int, mischief: Mischief?
) throws(BlockIOError) -> any QueuedEngine {
  do throws(LinuxError) {
    return switch kind {
    case .uring: try UringEngine(depth: depth, mischief: mischief)
    case .aio: try AIOEngine(depth: depth, mischief: mischief)
    case .threads: try ThreadEngine(depth: depth, mischief: mischief)
    case .synchronous: try InlineEngine(depth: depth, mischief: mischief)
    }
  } catch { throw .engine(kind, error) }
}

/// Which engine `engine=auto` stands for, and why; measured with 4 KiB requests, 32 at a time, in CPU time.
///
/// - In memory: a system call takes 0.8 µs, a ring 2.1 µs with half the throughput, threads 1.9 µs. So the
///   io_uring engine makes system calls there, and has the ring's workers for large reads.
/// - O_DIRECT: io_uring 3.7 µs, libaio 3.6 µs, threads 9 µs; io_uring also synchronises and zeroes without
///   waiting, and waits for descriptors in the same system call.
/// - Through the page cache: reads of what is there 0.9 µs with io_uring, 0.8 µs by a system call, 1.7 µs
///   with threads. But the system call waits for what is not there, and everything behind it with it. Writes
///   cost the same, since the engine makes them by system calls as long as those do not wait.
package func chooseEngine(for file: ImageFile) -> (kind: EngineKind, why: String) {
  let isDirect = file.direct != nil
  do throws(BlockIOError) {
    _ = try makeQueuedEngine(.uring, depth: 1)
    if file.isInMemory { return (.uring, "in memory: system calls, and kernel threads for large reads") }
    return (.uring, isDirect ? "O_DIRECT: the fewest system calls" : "page cache: nobody waits for a miss")
  } catch {
    if file.isInMemory { return (.synchronous, "in memory: a system call is all there is; \(error)") }
    // libaio waits for each request that goes through the page cache.
    if isDirect, (try? makeQueuedEngine(.aio, depth: 1)) != nil { return (.aio, "O_DIRECT, and \(error)") }
    return (.threads, "\(error)")
  }
}
