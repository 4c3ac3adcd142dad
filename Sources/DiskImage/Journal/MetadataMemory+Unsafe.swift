// The memory of a disk's metadata.
import BlockIO
import CLinux
import Glibc
import Linux

/// Pages of metadata that wait to be written, in private memory or in a journal.
///
/// SAFETY: the mapping has `shape.byteCount` bytes; `pages` and the directory lie within it. Both move when a
/// journal is given up, which `reserve` may do: nobody keeps an address across it.
struct MetadataMemory: ~Copyable {
  private let shape: JournalShape
  private var mapping: Mapping
  private var journal: Journal?
  /// Of the journal; nil when there is none.
  private var name: JournalName?
  /// Valid as long as there is a journal.
  private var descriptor: CInt = -1
  private let report: (@Sendable (String) -> Void)?
  /// The first page.
  private(set) var pages: UnsafeMutableRawPointer
  /// Whether the image names the journal.
  private(set) var isNamed = false

  /// The memory of a new journal, if there is to be one and it can be made; otherwise of our own: zeros that
  /// cost nothing until they are touched.
  init(_ shape: JournalShape, _ options: JournalOptions?, for file: ImageFile) throws(LinuxError) {
    self.shape = shape
    report = options?.report
    var made: Journal?
    if let options {
      do throws(JournalRefusal) { made = try Self.makeJournal(shape, options, for: file) } catch {
        options.report("has no journal: \(error): what is not flushed is lost if ttblk is killed")
      }
    }
    mapping = try Self.map(shape, made)
    (name, descriptor) = Self.describe(made)
    journal = made
    pages = mapping.base + shape.pagesOffset
  }

  private static func makeJournal(
    _ shape: JournalShape, _ options: JournalOptions, for file: ImageFile
  ) throws(JournalRefusal) -> Journal {
    guard let image = JournalImage(file.descriptor.rawValue) else {
      throw JournalRefusal("it is not known which file '\(file.path)' is")
    }
    return try options.folder.make(shape, for: image, path: file.path)
  }

  private static func map(
    _ shape: JournalShape, _ journal: borrowing Journal?
  ) throws(LinuxError) -> Mapping {
    switch journal {
    case nil: return try Mapping(zeroed: shape.byteCount)
    case let journal?: return try Mapping(sharing: journal.descriptor, count: shape.byteCount)
    }
  }

  private static func describe(_ journal: borrowing Journal?) -> (JournalName?, CInt) {
    switch journal {
    case nil: (nil, -1)
    case let journal?: (journal.name, journal.descriptor.rawValue)
    }
  }

  /// The journal that the image does not name yet.
  var unnamed: JournalName? { isNamed ? nil : name }

  /// The image names the journal from now on.
  mutating func didName() { isNamed = true }

  /// To be called before a page is touched for the first time, and after it was released: memory that a file
  /// system has no room for would kill us.
  mutating func reserve(_ page: Int) throws(LinuxError) {
    let offset = shape.pagesOffset + page * shape.pageSize
    guard name != nil, offset % JournalShape.systemPage == 0 else { return }
    if let reason = refusal(of: offset) { try giveUp(reason) }
  }

  private func refusal(of offset: Int) -> String? {
    let file = descriptor
    do throws(LinuxError) {
      _ = try retrying("fallocate", "journal") {
        CLinux_fallocate_keep_size(file, Int64(offset), Int64(JournalShape.systemPage))
      }
      return nil
    } catch { return error.description }
  }

  /// Gives a page back, whose contents are not needed.
  func release(_ page: Int) {
    let offset = shape.pagesOffset + page * shape.pageSize
    precondition(shape.pageSize == JournalShape.systemPage && page < shape.pageCount)
    let range = offset..<offset + shape.pageSize
    if name == nil { mapping.release(range) } else { mapping.punch(range) }
  }

  /// Changes a word of the directory: what was stored in pages before is there when this is, and what comes
  /// later is not there before.
  func store(_ word: UInt64, at index: Int) {
    guard name != nil else { return }
    precondition(index < shape.directoryWords)
    CLinux_order()
    CLinux_store64_release(mapping.base + JournalShape.directoryOffset + index * 8, word)
    CLinux_order()
  }

  /// Goes on in private memory, with the same contents; what is not flushed is lost from now on when the
  /// process is killed.
  mutating func giveUp(_ reason: String) throws(LinuxError) {
    guard name != nil else { return }
    let new = try Mapping(zeroed: shape.byteCount)
    guard let old = journal.take() else { return }
    name = nil
    report?("goes on without a journal: \(reason): what is not flushed is lost if ttblk is killed")
    // The name in the image means nothing without the file.
    old.remove()
    var position = Int64(shape.pagesOffset)
    while true {
      let data = CLinux_seek_data(old.descriptor.rawValue, position)
      guard data >= 0, data < shape.byteCount else { break }
      let hole = CLinux_seek_hole(old.descriptor.rawValue, data)
      let end = hole > data ? min(Int(hole), shape.byteCount) : shape.byteCount
      memcpy(new.base + Int(data), mapping.base + Int(data), end - Int(data))
      position = Int64(end)
    }
    mapping = new
    pages = mapping.base + shape.pagesOffset
  }

  /// Lets the journal go; what was read stays.
  /// - Parameter isDone: whether all is in the image, so that the journal is not needed.
  mutating func endJournal(isDone: Bool) {
    name = nil
    isNamed = false
    guard let journal = journal.take() else { return }
    if isDone { journal.remove() }
    // The mapping would hold the lock as long as it lives.
    CLinux_unlock_whole_file(journal.descriptor.rawValue)
  }
}
