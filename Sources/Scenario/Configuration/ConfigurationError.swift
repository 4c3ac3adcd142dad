// Why a configuration was refused.

/// What is wrong in a configuration, and where: `run.toml:12: unknown key 'modle'; …`.
package struct ConfigurationError: Error, CustomStringConvertible {
  package let description: String

  package init(_ message: String, file: String? = nil, line: Int? = nil) {
    switch (file, line) {
    case (let file?, let line?): description = "\(file):\(line): \(message)"
    case (let file?, nil): description = "\(file): \(message)"
    default: description = message
    }
  }
}
