// Until the engines are merged.
import BlockIO

extension ImageFile {
  var refusesToUnmap: Bool { false }
  var refusesToZero: Bool { false }
}
