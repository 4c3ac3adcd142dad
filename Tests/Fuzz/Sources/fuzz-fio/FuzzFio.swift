// Any text as a result of fio.
import DiskModel
import Scenario

/// The whole input is the file. What is understood must be a model that is valid, and can be written as a file.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFio(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let text = Array(UnsafeBufferPointer(start: bytes, count: count))
  guard let result = try? FioResult(text: text, path: "result.json") else { return 0 }
  let fit = FioFit(result)
  do {
    let file = try ModelFile(text: fit.toml, path: "fit.toml")
    let model = try ModelDescription(specification: "fit", parameters: file.parameters)
    guard try model.make(for: ModelContext(diskSize: 1 << 20)) != nil else { fatalError("takes no time") }
  } catch {
    fatalError("what fio measured became a model that is refused: \(error)")
  }
  return 0
}
