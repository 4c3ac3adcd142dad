// Plain values in slots, and lists of them.

/// Slots that are used again.
struct SlotPool<Element: Sendable>: Sendable {
  private(set) var slots: [Element] = []
  private var free: [UInt32] = []

  var used: Int { slots.count - free.count }

  @inline(__always) subscript(_ index: UInt32) -> Element {
    get { slots[Int(index)] }
    _modify { yield &slots[Int(index)] }
  }

  mutating func insert(_ element: Element) -> UInt32 {
    guard let index = free.popLast() else {
      slots.append(element)
      return UInt32(slots.count - 1)
    }
    slots[Int(index)] = element
    return index
  }

  mutating func remove(_ index: UInt32) { free.append(index) }
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
