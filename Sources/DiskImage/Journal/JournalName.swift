// What an image says of its journal.

/// Names a journal: a number that nobody guesses, whose it is, and the folder that it is in.
///
/// ```
/// @0   16 bytes  the number; the name of the file is its hexadecimal form
/// @16  u32       user id of whoever made it
/// @20  28 bytes  the image that it is of (`JournalImage`): a copy of the image has the name, too
/// @48  text      the folder; none for the standard folder of that user
/// ```
/// All numbers are big-endian.
struct JournalName: Equatable, Sendable {
  let token: [UInt8]
  let owner: UInt32
  let image: JournalImage
  /// Empty for the standard folder of the owner.
  let folder: String

  static let tokenBytes = 16
  private static let folderOffset = 48

  init(token: [UInt8], owner: UInt32, image: JournalImage, folder: String) {
    precondition(token.count == Self.tokenBytes && folder.utf8.count <= Limits.journalFolderBytesMax)
    self.token = token
    self.owner = owner
    self.image = image
    self.folder = folder == JournalFolder.standardPath(of: owner) ? "" : folder
  }

  /// Nil for bytes that are no name.
  init?(parsing bytes: ArraySlice<UInt8>) {
    guard bytes.count >= Self.folderOffset else { return nil }
    let text = bytes.dropFirst(Self.folderOffset)
    guard text.count <= Limits.journalFolderBytesMax, !text.contains(0),
      let folder = String(validating: text, as: UTF8.self), folder.isEmpty || folder.hasPrefix("/")
    else { return nil }
    token = Array(bytes.prefix(Self.tokenBytes))
    let raw = bytes.span.bytes
    owner = raw.u32(Self.tokenBytes)
    image = JournalImage(parsing: raw, at: Self.tokenBytes + 4)
    self.folder = folder
  }

  var encoded: [UInt8] {
    var bytes = token
    bytes.append(bigEndian: owner)
    image.append(to: &bytes)
    return bytes + Array(folder.utf8)
  }

  var folderPath: String { folder.isEmpty ? JournalFolder.standardPath(of: owner) : folder }
  var fileName: String { Self.fileName(token) }

  static func fileName(_ token: [UInt8]) -> String {
    let digits = Array("0123456789abcdef")
    return String(token.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  /// Whether a file may be a journal, as far as its name tells.
  static func isFileName(_ name: String) -> Bool {
    name.utf8.count == 2 * tokenBytes
      && name.utf8.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }
}
