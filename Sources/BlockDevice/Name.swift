// What nodes, disks and faults may be called.

/// The longest name of a node, of one of its disks, and of a fault: UML's `umid` takes no more.
package let nameLengthMax = 63
/// And of a disk among those of all nodes: its node's name, '-', and its own.
package let diskNameLengthMax = 2 * nameLengthMax + 1

/// Why a text is no name, for messages; nil if it is one. Names become file names and words of reports.
package func complaint(aboutName name: String, lengthMax: Int = nameLengthMax) -> String? {
  let isName =
    !name.isEmpty && name.utf8.count <= lengthMax && name.first != "."
    && name.utf8.allSatisfy {
      switch $0 {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
      default: false
      }
    }
  guard !isName else { return nil }
  return "name '\(name)' is empty, longer than \(lengthMax), begins with '.', or has other signs than "
    + "letters, digits, '.', '_' and '-'"
}
