// ttblk image, as a shell runs it.
import Foundation
import Testing

@Suite("ttblk image") struct ImageCommandTests {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("ttblk-test-\(UUID())")

  init() throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let base = folder.appendingPathComponent("base")
    try Data(count: 1 << 20).write(to: base)
    try set(base, time: 1_700_000_000)
  }

  func set(_ file: URL, time: Double) throws {
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: time)], ofItemAtPath: file.path)
  }

  func ttblk(_ arguments: String...) throws -> Outcome { try runCommand(arguments, in: folder) }

  @Test("create, info and their exit codes")
  func createAndInfo() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let created = try ttblk("image", "create", "a.cow", "--backing", "base")
    #expect(created.code == 0 && created.output.isEmpty && created.error.isEmpty)
    let again = try ttblk("image", "create", "a.cow", "--backing", "base")
    #expect(again.code == 5)
    #expect(again.error == "ttblk: 'a.cow' exists already: choose another name, or remove it\n")
    #expect(try ttblk("image", "create", "b.cow").code == 64)
    #expect(try ttblk("image", "create", "b.cow", "--backing", "absent").code == 3)
    let upon = try ttblk("image", "create", "b.cow", "--backing", "a.cow")
    #expect(upon.code == 0 && upon.error.contains("UML's own ubd would take it for raw data"))
    #expect(try ttblk("--version").output == "0.1.0\n")

    let table = try ttblk("image", "info", "a.cow")
    #expect(table.code == 0 && table.output.contains("valid         yes"))
    let json = try ttblk("image", "info", "--json", "a.cow")
    let object = try #require(JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
    #expect(object["format"] as? String == "uml-cow" && object["virtualSize"] as? Int == 1 << 20)
    let cow = try #require(object["cow"] as? [String: Any])
    #expect(cow["valid"] as? Bool == true && cow["dataOffset"] as? Int == 262144)
    #expect(try ttblk("image", "info", "base").output.contains("raw"))

    try set(folder.appendingPathComponent("base"), time: 1_700_000_005)
    let stale = try ttblk("image", "info", "a.cow")
    #expect(stale.code == 3)
    #expect(stale.output.contains("now @1700000005") && stale.output.contains("touch -d @1700000000"))
  }
}
