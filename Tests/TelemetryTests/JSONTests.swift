// JSON, read back by somebody else.
import Foundation
import Telemetry
import Testing

@Suite("JSON") struct JSONTests {
  @Test("values are written as RFC 8259 wants them")
  func values() {
    let value: JSONValue = .object([
      "b": [1, -2, 1.5, true, nil], "a": .unsigned(.max), "empty": [], "none": .object([]),
      "nan": .number(.nan),
    ])
    #expect(
      value.description
        == #"{"b":[1,-2,1.5,true,null],"a":18446744073709551615,"empty":[],"none":{},"nan":null}"#)
    #expect(
      JSONValue.object(["x": [1], "y": .object(["z": "t"])]).indented == """
        {
          "x": [
            1
          ],
          "y": {
            "z": "t"
          }
        }
        """)
  }

  @Test("any string survives, and stays in its line")
  func strings() throws {
    var text = "\"\\/\u{2028}é😀"
    for value in UInt8(0)..<128 { text.unicodeScalars.append(Unicode.Scalar(value)) }
    let written = JSONValue.array([.string(text)]).description
    #expect(!written.contains("\n"))
    let read = try JSONSerialization.jsonObject(with: Data(written.utf8)) as? [String]
    #expect(read == [text])
  }

  @Test("numbers survive")
  func numbers() throws {
    for number: Double in [0.1, -1e300, .leastNonzeroMagnitude, 1.0 / 3, 1e16, 123_456_789.125] {
      let written = JSONValue.array([JSONValue.number(number)]).description
      let read = try JSONSerialization.jsonObject(with: Data(written.utf8)) as? [Double]
      #expect(read == [number])
    }
  }
}
