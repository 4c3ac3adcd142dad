// Plain values in slots, and lists of them.

/// Slots that are used again.
struct SlotPool<Element: Sendable>: Sendable {
  private var slots = Table<Element>()
  /// Slots that were ever used, and of these the ones that are free.
  private var count = 0
  private var free = Table<UInt32>()
  private var freeCount = 0

  var used: Int { count - freeCount }

  mutating func makeUnique() {
    slots.makeUnique()
    free.makeUnique()
  }

  @inline(__always) subscript(_ index: UInt32) -> Element {
    _read { yield slots[Int(index)] }
    _modify { yield &slots[Int(index)] }
  }

  mutating func insert(_ element: Element) -> UInt32 {
    if freeCount > 0 {
      freeCount -= 1
      let index = free[freeCount]
      slots[Int(index)] = element
      return index
    }
    if count == slots.count {
      slots.grow(by: element)
      free.grow(by: 0)
    }
    slots[count] = element
    count += 1
    return UInt32(count - 1)
  }

  mutating func remove(_ index: UInt32) {
    free[freeCount] = index
    freeCount += 1
  }
}

/// Slots in a row, first in, first out.
struct SlotList: Sendable {
  var head = noIndex
  var tail = noIndex

  var isEmpty: Bool { head == noIndex }
}

extension SlotPool<FlashOperation> {
  mutating func append(_ index: UInt32, to list: inout SlotList) {
    self[index].next = noIndex
    if list.tail == noIndex {
      list.head = index
    } else {
      self[list.tail].next = index
    }
    list.tail = index
  }

  mutating func removeFirst(of list: inout SlotList) -> UInt32 {
    let index = list.head
    list.head = self[index].next
    if list.head == noIndex { list.tail = noIndex }
    return index
  }
}
