// What nodes, disks and faults may be called.

/// Whether a text is a name: one of letters, digits, '.', '_' and '-' that does not begin with a dot. Names
/// become file names and lines of reports.
package func isValidName(_ name: String, lengthMax: Int) -> Bool {
  !name.isEmpty && name.utf8.count <= lengthMax && name.first != "."
    && name.utf8.allSatisfy {
      switch $0 {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
      default: false
      }
    }
}
