// Tables for terminals.

/// Columns as wide as their widest cell; the first is left-aligned, cells that begin with a digit
/// right-aligned.
package struct TextTable {
  private var rows: [[String]]

  package init(columns: [String]) { rows = [columns] }

  package mutating func add(_ row: [String]) {
    precondition(row.count == rows[0].count)
    rows.append(row)
  }

  /// The table without a newline at its end.
  package var text: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    let isNumeric = rows[0].indices.map { column in
      rows.count > 1 && rows.dropFirst().allSatisfy { $0[column].first?.isNumber == true }
    }
    return rows.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        line += (column > 0 ? "  " : "") + (isNumeric[column] && column > 0 ? padding + cell : cell + padding)
      }
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }
}
