// The numbers of a model, before anybody has looked at them.

/// One value of a model's parameters, as TOML has them.
package enum ParameterValue: Equatable, Sendable, ExpressibleByIntegerLiteral, ExpressibleByStringLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  case integer(Int64)
  case boolean(Bool)
  /// Text, and every quantity with a unit: `8.5ms`, `800MiB/s`, `64KiB`.
  case string(String)
  case array([ParameterValue])
  case table(ParameterTable)

  package init(integerLiteral value: Int64) { self = .integer(value) }
  package init(stringLiteral value: String) { self = .string(value) }
  package init(booleanLiteral value: Bool) { self = .boolean(value) }
  package init(arrayLiteral elements: ParameterValue...) { self = .array(elements) }
  package init(dictionaryLiteral elements: (String, ParameterValue)...) {
    self = .table(ParameterTable(elements.map { ParameterTable.Entry(key: $0.0, value: $0.1) }))
  }
}

/// Keys and values in the order they were written: a TOML file, a preset, or what a specification adds to it.
package struct ParameterTable: Equatable, Sendable, ExpressibleByDictionaryLiteral {
  package struct Entry: Equatable, Sendable {
    package var key: String
    package var value: ParameterValue

    package init(key: String, value: ParameterValue) {
      self.key = key
      self.value = value
    }
  }

  package private(set) var entries: [Entry]

  package init(_ entries: [Entry] = []) { self.entries = entries }

  package init(dictionaryLiteral elements: (String, ParameterValue)...) {
    entries = elements.map { Entry(key: $0.0, value: $0.1) }
  }

  /// A table has few keys.
  package subscript(key: String) -> ParameterValue? {
    get { entries.first { $0.key == key }?.value }
    set {
      let index = entries.firstIndex { $0.key == key }
      switch (index, newValue) {
      case (let index?, let value?): entries[index].value = value
      case (let index?, nil): entries.remove(at: index)
      case (nil, let value?): entries.append(Entry(key: key, value: value))
      case (nil, nil): break
      }
    }
  }

  /// This table with what `other` says of the same keys, and its further ones; tables within are merged, too.
  package func merging(_ other: ParameterTable) -> ParameterTable {
    var result = self
    for entry in other.entries {
      if case .table(let mine) = result[entry.key], case .table(let theirs) = entry.value {
        result[entry.key] = .table(mine.merging(theirs))
      } else {
        result[entry.key] = entry.value
      }
    }
    return result
  }
}
