// Numbers of scenarios and faults at their ends.
import Foundation
import Scenario
import Testing

@Suite struct ScenarioNumberTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  private static let extremes = [
    "0", "1", "-1", "4096", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
    "18446744073709551616", "0x7fffffffffffffff", "0.5", "-0.5", "1e18", "1e300", "1e400", "nan", "-nan",
    "inf",
    "-inf", "true", "1979-05-27", "[]", "{}", "\"\"", "\"0\"", "\"-1\"", "\"1ns\"", "\"1s\"",
    "\"9999999d\"", "\"18446744073709551615ns\"", "\"4K\"", "\"7T\"", "\"8T\"", "\"18446744073709551615\"",
    "\"18446744073709551616\"", "\"16777216T\"", "\"0-18014398509481983\"", "\"0-18446744073709551615\"",
    "\"NaN\"", "\"1e9\"",
  ]

  /// Where a key is written.
  private enum Place {
    case top, node, disk
    case fault(String)
  }

  private func load(
    _ top: String, _ node: String, _ disk: String, _ fault: String?
  ) throws(ConfigurationError) {
    let (kernel, initramfs, path): (String, String, String)
    do {
      kernel = try folder.write("linux", "")
      initramfs = try folder.write("initramfs", "")
      path = try folder.write(
        "run.toml",
        """
        \(top)
        [[node]]
        name = "n"
        kernel = "\(kernel)"
        initramfs = "\(initramfs)"
        \(node)
        [[node.disk]]
        name = "d"
        \(disk)
        \(fault.map { "[[node.disk.fault]]\n\($0)" } ?? "")
        """)
    } catch { throw ConfigurationError("\(error)") }
    _ = try Scenario.load(path: path)
  }

  @Test func everyNumberIsTakenOrRefusedWithItsKeyAndValue() throws {
    let faults: [(kind: String, keys: [String], rest: String)] = [
      ("corrupt-write", ["bits", "probability", "count", "sectors", "after", "every", "at", "until"], ""),
      ("latent-errors", ["number", "at", "sectors"], ""), ("no-space", ["space", "at"], ""),
      ("stale-read", ["history", "probability"], ""), ("slow", ["factor", "extra", "for", "every"], ""),
      ("stall", ["for", "every", "until", "at"], ""),
      ("power-cut", ["torn", "cache", "after"], "keeps = \"subset\""),
    ]
    var cases: [(key: String, place: Place)] = []
    cases += ["seed", "time-of-day"].map { ($0, .top) }
    cases += ["count", "wall-limit", "memory"].map { ($0, .node) }
    cases.append(("size", .disk))
    for (kind, keys, rest) in faults { cases += keys.map { ($0, .fault("kind = \"\(kind)\"\n\(rest)\n")) } }
    var (taken, refused) = (0, 0)
    for (key, place) in cases {
      for value in Self.extremes {
        let line = "\(key) = \(value)"
        do throws(ConfigurationError) {
          switch place {
          case .top: try load(line, "", "size = \"1M\"", nil)
          case .node: try load("", line, "size = \"1M\"", nil)
          case .disk: try load("", "", line, nil)
          case .fault(let kind): try load("", "", "size = \"1M\"", kind + line)
          }
          taken += 1
        } catch {
          refused += 1
          let message = error.description
          #expect(message.contains("run.toml:") && !message.contains("\n"), "\(key) = \(value): \(message)")
        }
      }
    }
    #expect(taken > 50 && refused > 1000, "\(taken) taken, \(refused) refused")
  }

  @Test func whatIsRefusedIsToldWithItsValueAndItsBound() {
    for (top, fault, words) in [
      ("seed = -1", nil, "run.toml:1: 'seed' is -1, not a whole number from 0"),
      ("seed = nan", nil, "'seed' is nan, not"), ("seed = \"x\"", nil, "'seed' is \"x\", not"),
      ("seed = [1]", nil, "'seed' is an array, not"), ("seeed = 1", nil, "did you mean seed?"),
      ("", "kind = \"bit-rot\"\nprobability = 1\nbits = 1025", "'bits' is 1025, not 1 to 1024"),
      ("", "kind = \"latent-errors\"\nnumber = 0", "'number' is 0, not 1 to 1048576"),
      ("", "kind = \"latent-errors\"\nnumber = -1", "'number' is -1, not"),
    ] as [(String, String?, String)] {
      let error = #expect(throws: ConfigurationError.self) { try load(top, "", "size = \"1M\"", fault) }
      #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    }
  }
}
