// Machines that lose their power, and what they find when they come up again.
import Foundation
import Linux
import Testing

/// A Debian node that works on a disk until its power goes, and boots again on what is left.
struct PowerCutBench {
  let folder: Folder
  /// What it does, and what it asks afterwards.
  let job: String
  let question: String
  var lies = false

  /// What a cut left.
  struct Aftermath {
    /// The last thing that the node was promised to keep.
    let acknowledged: Int
    let cut: RunResult
    let second: RunResult
    /// What e2fsck said of the file system after the second boot; empty if it is in order.
    let complaints: String

    /// `name=…` or `name …` in the second boot's console: the rest of the line.
    func line(_ beginning: String) -> Substring? {
      second.console.split(separator: "\n").first { $0.hasPrefix(beginning) }?.dropFirst(beginning.count)
    }
  }

  private func node(_ job: String, disk: String) -> NodeText {
    NodeText(
      keys: """
        memory = "96M"
        root = "root"
        arguments = ["init=/sbin/ttblk-init"]
        """, jobs: [job],
      disks: [DiskText(name: "root", source: disk, model: "affine:100us")])
  }

  /// - Parameter cut: keys of the power cut.
  func text(_ cut: String) -> String {
    let lie = lies ? "[[node.fault]]\nkind = \"lying-flush\"\n" : ""
    return node(job, disk: "image = \"debian\"").toml
      + "[[node.fault]]\nkind = \"power-cut\"\n\(cut)\n\(lie)"
  }

  /// Cuts the power.
  func cut(_ cut: String, output: String, options: [String] = [], transport: String? = nil) throws
    -> RunResult
  {
    _ = try Guest(debian: true)
    let arrangement = Arrangement(transport: transport ?? "shared-memory", isSeparate: false)
    return try folder.run(
      toml: "seed = 7\n" + text(cut), as: arrangement, output: output, options: options)
  }

  /// Cuts the power, boots again, and looks.
  func aftermath(_ cut: String) throws -> Aftermath {
    let first = try self.cut(cut, output: "cut")
    let image = folder / "cut/node-root.cow"
    let second = try folder.run(
      [node(question, disk: "image = \"\(image)\"\noverlay = false")], output: "second")
    let raw = folder / "raw"
    try? FileManager.default.removeItem(atPath: raw)
    let made = try folder.ttblk("image", "convert", image, raw, "--to", "raw")
    try #require(made.code == 0, "\(made.error)")
    let check = try Program("/usr/sbin/e2fsck", ["-fn", raw], in: folder.path)
    let code = try check.wait()
    return Aftermath(
      acknowledged: first.lastAcknowledged, cut: first, second: second,
      complaints: code == 0 ? "" : check.output)
  }
}

extension RunResult {
  /// The number of the last `acknowledged N`; 0 without any.
  var lastAcknowledged: Int {
    console.split(separator: "\n").compactMap {
      $0.hasPrefix("acknowledged ") ? Int($0.dropFirst("acknowledged ".count)) : nil
    }.last ?? 0
  }
}

@Suite("A power cut of a real guest") struct PowerCutTests {
  @Test("probe") func probe() throws {
    for (job, question) in [
      ("transactions:60", "recovered"), ("transactions:60,delete", "recovered"), ("renames:30", "renamed"),
    ] {
      for lies in [false, true] {
        for keeps in [
          "keeps = \"none\"", "keeps = \"subset\"\ntorn = 512", "keeps = \"prefix\"\ntorn = 4096",
        ] {
          for at in ["40ms", "60ms", "80ms"] {
            let bench = PowerCutBench(folder: try Folder(), job: job, question: question, lies: lies)
            do {
              let result = try bench.aftermath("at = \"\(at)\"\n\(keeps)")
              print(
                job, lies, keeps, at, "ack", result.acknowledged, "second", result.second.console, "fsck",
                result.complaints)
            } catch { print(job, lies, keeps, at, "ERR", error) }
          }
        }
      }
    }
  }
}
