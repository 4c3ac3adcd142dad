// Commands that change files, and what must hold whenever one of them is stopped.
import Foundation
import Testing

/// A command on images that others made, with what those show before and after it.
struct FaultJob: CustomTestStringConvertible, Sendable {
  /// What a disk shows.
  enum Contents: String, CaseIterable, Sendable {
    case base, disk, other
    /// As `disk`, and zeros behind it.
    case grown
  }

  /// Of `ttblk image`.
  let arguments: [String]
  /// Files that are there before.
  let files: [String]
  /// Files of these that the command may change; others keep every byte.
  var changes: Set<String> = []
  /// What images show before.
  var before: [String: Contents] = [:]
  /// What images show after; until then, this or what they showed before.
  let after: [String: Contents]
  /// Images of which meanwhile each byte is that of before or that of after.
  var mixtures: Set<String> = []
  /// A new file, which appears when it is complete.
  var output: String?
  /// What names of other new files begin with.
  var leaves: String?
  /// Whether `qemu-img check` finds errors before.
  var isDamaged = false

  var testDescription: String {
    arguments.map { $0.isEmpty ? "''" : $0 }.joined(separator: " ") + " (" + files.joined(separator: " ")
      + ")"
  }

  private static func copies(_ arguments: [String], _ files: [String]) -> FaultJob {
    FaultJob(arguments: arguments, files: files, after: ["out": .disk], output: "out")
  }

  /// A change in place after which the disk shows the same.
  private static func upkeep(_ arguments: [String], _ files: [String], of image: String) -> FaultJob {
    FaultJob(
      arguments: arguments, files: files, changes: [image], before: [image: .disk], after: [image: .disk])
  }

  private static func commits(_ image: String, to backing: String) -> FaultJob {
    FaultJob(
      arguments: ["commit", image], files: [backing, image], changes: [image, backing],
      before: [image: .disk, backing: .base], after: [image: .disk, backing: .disk], mixtures: [backing])
  }

  static let all: [FaultJob] = [
    copies(["merge", "a.cow", "out"], ["base", "a.cow"]),
    copies(["merge", "q", "out"], ["base", "q"]),
    copies(["convert", "disk", "out", "--to", "qcow2"], ["disk"]),
    copies(["convert", "q", "out", "--to", "raw"], ["base", "q"]),
    copies(["convert", "disk", "out", "--to", "uml-cow", "--backing", "base"], ["base", "disk"]),
    copies(["convert", "b.cow", "out", "--to", "qcow2", "--backing", "qbase"], ["qbase", "b.cow"]),
    copies(["convert", "a.cow", "out", "--to", "qcow2", "--compress", "deflate"], ["base", "a.cow"]),
    copies(["convert", "disk", "out", "--to", "qcow2", "--compress", "zstd"], ["disk"]),
    FaultJob(
      arguments: ["convert", "q", "out", "--to", "qcow2", "--force"], files: ["base", "q", "out"],
      changes: ["out"], before: ["out": .base], after: ["out": .disk]),
    commits("a.cow", to: "base"), commits("b.cow", to: "qbase"), commits("q", to: "base"),
    commits("r", to: "qbase"),
    upkeep(["rebase", "a.cow", "--backing", "other"], ["base", "other", "a.cow"], of: "a.cow"),
    upkeep(["rebase", "q", "--backing", "other"], ["base", "other", "q"], of: "q"),
    upkeep(["rebase", "q", "--backing", ""], ["base", "q"], of: "q"),
    upkeep(["compact", "disk"], ["disk"], of: "disk"),
    upkeep(["compact", "a.cow"], ["base", "a.cow"], of: "a.cow"),
    upkeep(["compact", "q"], ["base", "q"], of: "q"),
    FaultJob(
      arguments: ["repair", "--all", "mixed.cow"], files: ["base", "mixed.cow"], changes: ["mixed.cow"],
      before: ["mixed.cow": .disk], after: ["mixed.cow": .disk], leaves: "mixed.cow.repair-"),
    FaultJob(
      arguments: ["repair", "--all", "damaged"], files: ["damaged"], changes: ["damaged"],
      before: ["damaged": .disk], after: ["damaged": .disk], leaves: "damaged.repair-", isDamaged: true),
    FaultJob(
      arguments: ["upgrade", "old.cow"], files: ["base", "old.cow"], changes: ["old.cow"],
      before: ["old.cow": .disk], after: ["old.cow": .disk, "old.cow.v2": .disk], leaves: "old.cow.v2"),
    upkeep(["upgrade", "old"], ["base", "old"], of: "old"),
    FaultJob(
      arguments: ["snapshot", "create", "a.cow", "s"], files: ["base", "a.cow"],
      after: ["a.cow@s": .disk], output: "a.cow@s"),
    FaultJob(
      arguments: ["snapshot", "apply", "a.cow", "o"], files: ["base", "a.cow", "a.cow@o"],
      changes: ["a.cow"], before: ["a.cow": .disk], after: ["a.cow": .other]),
    FaultJob(
      arguments: ["resize", "small", "3M"], files: ["base", "small"], changes: ["small"],
      before: ["small": .disk], after: ["small": .grown]),
  ]
}
