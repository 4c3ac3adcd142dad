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

/// Which engine `engine=auto` stands for.
package func chooseEngine(for file: ImageFile) -> (kind: EngineKind, why: String) {
  if file.isInMemory { return (.synchronous, "'\(file.path)' lies in memory: a system call is all there is") }
  let how = file.direct == nil ? "through the page cache" : "with O_DIRECT"
  if works(.uring) { return (.uring, "io_uring is there, and fastest \(how)") }
  if file.direct != nil, works(.aio) { return (.aio, "io_uring is not to be had here; libaio is") }
  return (.threads, "io_uring is not to be had here, and libaio waits \(how)")
}

/// Whether the kernel has it and lets us.
private func works(_ kind: EngineKind) -> Bool { (try? makeQueuedEngine(kind, depth: 1)) != nil }
