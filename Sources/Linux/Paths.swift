// Paths as strings.
import Glibc

/// Everything before the last slash; `.` if there is none.
package func directoryName(_ path: String) -> String {
  guard let slash = path.lastIndex(of: "/") else { return "." }
  return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// Everything after the last slash, without `suffix` if it ends so.
package func baseName(_ path: String, removing suffix: String = "") -> String {
  let name = path.split(separator: "/").last.map(String.init) ?? path
  return name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : name
}

/// `path`, seen from `directory` if it is relative.
package func resolve(_ path: String, _ directory: String) -> String {
  path.hasPrefix("/") || directory == "." ? path : directory + "/" + path
}

/// The absolute form of an existing path (`realpath(3)`).
package func absolutePath(_ path: String) throws(LinuxError) -> String {
  guard let resolved = realpath(path, nil) else { throw LinuxError("realpath", path) }
  defer { free(resolved) }
  return String(cString: resolved)
}

package func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

package func environmentVariable(_ name: String) -> String? {
  guard let value = getenv(name) else { return nil }
  let text = String(cString: value)
  return text.isEmpty ? nil : text
}

/// A new directory that only we can enter, under `parent`.
package func makeTemporaryDirectory(under parent: String, prefix: String) throws(LinuxError) -> String {
  let pattern = "\(parent)/\(prefix)" + String(repeating: "X", count: 6)
  guard let template = strdup(pattern) else { throw LinuxError("strdup", parent) }
  defer { free(template) }
  guard mkdtemp(template) != nil else { throw LinuxError("mkdtemp", parent) }
  return String(cString: template)
}

/// Makes a directory, and those above it; one that exists is fine.
package func makeDirectory(_ path: String) throws(LinuxError) {
  if mkdir(path, 0o755) == 0 || errno == EEXIST { return }
  guard errno == ENOENT, directoryName(path) != path else { throw LinuxError("mkdir", path) }
  try makeDirectory(directoryName(path))
  guard mkdir(path, 0o755) == 0 || errno == EEXIST else { throw LinuxError("mkdir", path) }
}

/// The names in a directory, sorted.
package func directoryEntries(_ path: String) throws(LinuxError) -> [String] {
  guard let directory = opendir(path) else { throw LinuxError("opendir", path) }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted()
}

/// Removes a directory and all that is in it, as far as it goes; symbolic links are not followed.
package func removeTree(_ path: String) {
  var status = stat()
  guard lstat(path, &status) == 0 else { return }
  guard status.st_mode & S_IFMT == S_IFDIR else {
    unlink(path)
    return
  }
  for name in (try? directoryEntries(path)) ?? [] { removeTree(path + "/" + name) }
  rmdir(path)
}
