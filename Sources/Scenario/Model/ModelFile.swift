// A user's own model: a TOML file.
package import DiskModel
import Linux
internal import TOMLKit

/// The parameters in a file, and on which line each is.
///
/// The file says `kind` and its keys, or `preset` and what is different. In a distribution
/// `fio = "FILE.json"` stands for the tables that `FioFit` makes of that file, which is seen from the model
/// file's folder.
package struct ModelFile {
  package let path: String
  package let parameters: ParameterTable
  /// What its user ought to know, a line each.
  package private(set) var notes: [String] = []
  private let lines: ConfigurationLines

  package init(path: String) throws(ConfigurationError) {
    try self.init(text: try readText(path), path: path)
  }

  package init(text: String, path: String) throws(ConfigurationError) {
    self.path = path
    lines = ConfigurationLines(text: text)
    let table = try parseTOML(text, file: path)
    var parameters: ParameterTable
    do throws(DiskModelError) { parameters = try Self.parameters(table, under: "") } catch {
      throw ConfigurationError(error.description, file: path, line: lines.line(ofParameter: error.key))
    }
    if let fio = parameters["fio"] {
      let line = lines.line(ofParameter: "fio")
      guard case .string(let name) = fio else {
        throw ConfigurationError("'fio' is \(fio), not a file's name in quotes", file: path, line: line)
      }
      parameters["fio"] = nil
      let fit: FioFit
      do throws(ConfigurationError) {
        fit = try FioFit(FioResult(path: resolve(name, directoryName(path))))
      } catch {
        throw ConfigurationError("fio: \(error)", file: path, line: line)
      }
      // What the file says of an operation goes before what was measured.
      parameters = fit.parameters.merging(parameters)
      notes = fit.notes.map { "\(path): \($0)" }
    }
    self.parameters = parameters
  }

  /// Puts file and line before what is wrong with a parameter.
  func locate(_ error: DiskModelError) -> ConfigurationError {
    ConfigurationError(error.description, file: path, line: error.key.flatMap(lines.line(ofParameter:)))
  }

  private static func parameters(
    _ table: TOMLTable, under path: String
  ) throws(DiskModelError) -> ParameterTable {
    var entries: [ParameterTable.Entry] = []
    for key in table.keys.sorted() {
      guard let value = table[key] else { continue }
      entries.append(ParameterTable.Entry(key: key, value: try parameter(value, path + key)))
    }
    return ParameterTable(entries)
  }

  private static func parameter(
    _ value: any TOMLValueConvertible, _ path: String
  ) throws(DiskModelError) -> ParameterValue {
    switch value.type {
    case .int: if let number = value.int { return .integer(Int64(number)) }
    case .bool: if let flag = value.bool { return .boolean(flag) }
    case .string: if let text = value.string { return .string(text) }
    case .table: if let table = value.table { return .table(try parameters(table, under: path + ".")) }
    case .array:
      guard let array = value.array else { break }
      var values: [ParameterValue] = []
      for element in array { values.append(try parameter(element, "\(path)[\(values.count)]")) }
      return .array(values)
    default: break
    }
    throw DiskModelError(
      "'\(path)' is \(brief(value)): write a whole number, true or false, "
        + "or a quantity in quotes like \"8.5ms\"",
      key: path)
  }
}

extension ConfigurationLines {
  /// Of a parameter's key as `ParameterReader` names it, `zone[2].spt`; where its table begins if it is
  /// written within another line.
  func line(ofParameter key: String?) -> Int? {
    guard let key else { return nil }
    var parts = key.split(separator: ".").map { part in
      part.last == "]" ? String(part.dropLast().map { $0 == "[" ? "#" : $0 }) : String(part)
    }
    while let last = parts.popLast() {
      if let line = line(of: last, in: parts.joined(separator: ".")) { return line }
      // An element of an array that is written in one line.
      if let mark = last.firstIndex(of: "#"),
        let line = line(of: String(last[..<mark]), in: parts.joined(separator: "."))
      {
        return line
      }
    }
    return nil
  }
}

/// What a specification stands for, its model file read and its parameters checked.
/// - Parameter note: takes a line that the user ought to know.
package func readModel(
  _ specification: String, note: (String) -> Void = { _ in }
) throws(ConfigurationError) -> ModelDescription {
  var file: ModelFile?
  var failure: ConfigurationError?
  do throws(DiskModelError) {
    let model = try ModelDescription(parsing: specification) { path throws(DiskModelError) in
      do throws(ConfigurationError) {
        let read = try ModelFile(path: path)
        file = read
        return read.parameters
      } catch {
        failure = error
        throw DiskModelError(error.description)
      }
    }
    for line in file?.notes ?? [] { note(line) }
    return model
  } catch {
    if let failure { throw failure }
    if let file { throw file.locate(error) }
    throw ConfigurationError(error.description)
  }
}

/// The specification with its model file seen from `directory`, for whoever reads it from elsewhere.
func resolveModel(_ specification: String, _ directory: String) -> String {
  guard specification.hasPrefix("file:") else { return specification }
  let here = (try? absolutePath(directory)) ?? directory
  return "file:" + resolve(String(specification.dropFirst(5)), here)
}
