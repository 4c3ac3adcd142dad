// The command, run as a shell runs it.
import Foundation

struct Outcome {
  let code: Int32
  let output: String
  let error: String
}

/// Runs `ttblk` to its end.
func runCommand(_ arguments: [String], in folder: URL? = nil) throws -> Outcome {
  let process = Process()
  // The command is built beside the tests.
  process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    .appendingPathComponent("ttblk")
  process.arguments = arguments
  process.currentDirectoryURL = folder
  let (output, error) = (Pipe(), Pipe())
  process.standardOutput = output
  process.standardError = error
  try process.run()
  let texts = [output, error].map {
    String(decoding: $0.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  }
  process.waitUntilExit()
  return Outcome(code: process.terminationStatus, output: texts[0], error: texts[1])
}
