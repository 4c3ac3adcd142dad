// What somebody may have meant.

/// The names at most a third of whose letters must change to make `name`, nearest first; at most three.
package func nearNames(to name: String, among names: some Sequence<String>) -> [String] {
  guard !name.isEmpty else { return [] }
  var found: [(distance: Int, name: String)] = []
  for candidate in names {
    let distance = editDistance(Array(name.utf8), Array(candidate.utf8))
    if distance <= max(1, max(name.utf8.count, candidate.utf8.count) / 3) || candidate.hasPrefix(name) {
      found.append((distance, candidate))
    }
  }
  found.sort { $0.distance == $1.distance ? $0.name < $1.name : $0.distance < $1.distance }
  return found.prefix(3).map(\.name)
}

/// What to say of a key, in the table at `path`, that means nothing there.
package func unknownKey(_ key: String, _ path: String, known: [String]) -> String {
  let near = nearNames(to: key, among: known)
  return "unknown key '\(path)\(key)'; "
    + (near.isEmpty
      ? "known here are \(known.sorted().joined(separator: ", "))"
      : "did you mean \(near.joined(separator: " or "))?")
}

/// Levenshtein's: insertions, deletions and replacements.
private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var row = Array(0...b.count)
  for i in a.indices {
    var diagonal = row[0]
    row[0] = i + 1
    for j in b.indices {
      let replaced = diagonal + (a[i] == b[j] ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
    }
  }
  return row[b.count]
}
