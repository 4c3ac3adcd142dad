// First in, first out.

/// A queue in one array that grows to the most it ever held.
struct Fifo<Element: Sendable>: Sendable {
  private var elements: [Element]
  private var head = 0

  /// - Parameter elements: the first of them comes out first.
  init(_ elements: [Element] = []) { self.elements = elements }

  var isEmpty: Bool { head == elements.count }
  var count: Int { elements.count - head }
  var first: Element? { isEmpty ? nil : elements[head] }
  /// In their order.
  var all: ArraySlice<Element> { elements[head...] }

  /// Counted from the first one.
  subscript(index: Int) -> Element {
    get { elements[head + index] }
    _modify { yield &elements[head + index] }
  }

  mutating func append(_ element: Element) { elements.append(element) }

  mutating func popFirst() -> Element? { isEmpty ? nil : removeFirst() }

  /// - Precondition: there is one.
  mutating func removeFirst() -> Element {
    let element = elements[head]
    head += 1
    if head == elements.count {
      elements.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 64, head * 2 >= elements.count {
      elements.removeFirst(head)
      head = 0
    }
    return element
  }
}
