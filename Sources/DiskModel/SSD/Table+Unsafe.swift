// Rows that are written without a look at who else has them.

/// An array of a drive. `makeUnique` must be called before a series of writes, as of a `LazyTable`: an event
/// writes a dozen rows of several tables, and an `Array` would look each time whether it is shared.
///
/// A value: a copy is a snapshot, shared until one of the two is written.
///
/// SAFETY: the storage initializes all rows and frees them; indices are checked. Rows are written by whoever
/// called `makeUnique`, so by one owner. The storage lives as long as the drive that a table is a part of;
/// one that is replaced, until its rows have been copied.
struct Table<Element: Sendable>: RandomAccessCollection, @unchecked Sendable {
  private final class Storage {
    let rows: UnsafeMutableBufferPointer<Element>

    init(count: Int, _ initialize: (UnsafeMutableBufferPointer<Element>) -> Void) {
      rows = .allocate(capacity: count)
      initialize(rows)
    }

    deinit {
      rows.deinitialize()
      rows.deallocate()
    }
  }

  private var storage: Storage
  /// The storage's.
  private var rows: UnsafeMutableBufferPointer<Element>

  private init(_ storage: Storage) {
    self.storage = storage
    rows = storage.rows
  }

  init(_ elements: [Element] = []) {
    self.init(Storage(count: elements.count) { _ = $0.initialize(fromContentsOf: elements) })
  }

  init(repeating element: Element, count: Int) {
    self.init(Storage(count: count) { $0.initialize(repeating: element) })
  }

  var startIndex: Int { 0 }
  var endIndex: Int { rows.count }

  @inline(__always) subscript(index: Int) -> Element {
    _read {
      precondition(index >= 0 && index < rows.count)
      yield rows.baseAddress.unsafelyUnwrapped[index]
    }
    _modify {
      precondition(index >= 0 && index < rows.count)
      yield &rows.baseAddress.unsafelyUnwrapped[index]
    }
  }

  /// Copies what a snapshot shares with this.
  mutating func makeUnique() {
    guard !isKnownUniquelyReferenced(&storage) else { return }
    self = withExtendedLifetime(storage) {
      Table(Storage(count: rows.count) { _ = $0.initialize(fromContentsOf: rows) })
    }
  }

  /// Twice as many rows; the new ones are `element`.
  @inline(never) mutating func grow(by element: Element) {
    self = withExtendedLifetime(storage) {
      Table(
        Storage(count: Swift.max(16, 2 * rows.count)) {
          let end = $0.initialize(fromContentsOf: rows)
          $0[end...].initialize(repeating: element)
        })
    }
  }
}
