// What is asked of a model, as it is written.
import DiskModel

extension ModelWorkload {
  private static let patterns: [(name: String, pattern: Pattern, operation: ModelRequest.Operation)] = [
    ("read", .sequential, .read), ("write", .sequential, .write), ("randread", .random, .read),
    ("randwrite", .random, .write), ("trim", .sequential, .discard), ("randtrim", .random, .discard),
  ]

  static let form = "PATTERN,BYTES[,depth=N][,count=N][,size=BYTES]"

  /// Reads `randread,4k,depth=32,count=100000,size=1G`.
  init(parsing text: String, diskSize: UInt64) throws {
    func refuse(_ what: String) -> CommandFailure {
      CommandFailure(.usage, "--workload \(text): \(what)")
    }
    let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    let names = Self.patterns.map(\.name)
    guard let found = Self.patterns.first(where: { $0.name == parts[0] }) else {
      throw refuse("'\(parts[0])' is not one of \(names.joined(separator: ", "))")
    }
    guard parts.count > 1, let block = ByteCount(argument: parts[1])?.bytes, block > 0, block % 512 == 0,
      block <= 1 << 30
    else {
      throw refuse("bytes of a request are missing: write \(Self.form), BYTES a multiple of 512 up to 1G")
    }
    var (depth, count, size) = (1, 20_000, diskSize)
    var seen: [String] = []
    for part in parts.dropFirst(2) {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard pair.count == 2, ["depth", "count", "size"].contains(pair[0]) else {
        throw refuse("'\(part)' is not one of depth=, count=, size=")
      }
      guard !seen.contains(pair[0]) else { throw refuse("'\(pair[0])' twice") }
      seen.append(pair[0])
      switch pair[0] {
      case "depth":
        guard let number = Int(pair[1]), (1...65_536).contains(number) else {
          throw refuse("depth is 1 to 65536")
        }
        depth = number
      case "count":
        guard let number = Int(pair[1]), (1...10_000_000).contains(number) else {
          throw refuse("count is 1 to 10000000")
        }
        count = number
      default:
        guard let bytes = ByteCount(argument: pair[1])?.bytes, bytes <= diskSize else {
          throw refuse("size is bytes of the disk, which has \(ByteText.long(diskSize))")
        }
        size = bytes
      }
    }
    guard size >= block else { throw refuse("\(ByteText.long(size)) hold no request of \(block) bytes") }
    self.init(
      found.pattern, found.operation, blockSize: block, depth: depth, count: count, range: 0..<size)
  }
}
