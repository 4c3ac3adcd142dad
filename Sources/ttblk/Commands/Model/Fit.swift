// ttblk model fit
import ArgumentParser
import DiskModel
import Linux
import Scenario

struct ModelFitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fit",
    abstract: "Make a model of what fio measured.",
    discussion: """
      Reads a result of fio 3 with --output-format=json+ (whose bins are exact to 1 %) or json (a few \
      percentiles), of reads, writes, trims and fsyncs, and prints a distribution model with the error of \
      the fit. Measure at depth 1: at more, latencies have the waiting in them.
      """)

  @Argument(help: "fio's result.", completion: .file(extensions: ["json"]))
  var result: String

  @Option(help: ArgumentHelp("Take this job alone.", valueName: "name"))
  var job: String?

  @Option(
    help: ArgumentHelp("Write the model to this file, which must not exist.", valueName: "file"),
    completion: .file(extensions: ["toml"]))
  var output: String?

  func run() throws {
    let fit = FioFit(try FioResult(path: result, job: job))
    for note in fit.notes { warn(note) }
    // What was made must be read again.
    let toml = fit.toml
    do throws(DiskModelError) {
      _ = try ModelDescription(specification: result, parameters: fit.parameters)
    } catch {
      throw CommandFailure(.usage, "\(result): \(error)")
    }
    guard let output else {
      return announce(String(toml.dropLast()))
    }
    guard !fileExists(output) else {
      throw CommandFailure(.exists, "'\(output)' exists already: choose another name, or remove it")
    }
    try writeFile(output, toml)
    for line in fit.summary { announce(line) }
  }
}
