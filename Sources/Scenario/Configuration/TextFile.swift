// Files that people write.
import Linux

/// The whole of a small text file.
func readText(_ path: String, limit: Int = 1 << 20) throws(ConfigurationError) -> String {
  do throws(LinuxError) {
    return String(decoding: try readFile(path, limit: limit), as: UTF8.self)
  } catch {
    throw ConfigurationError("cannot \(error)")
  }
}
