// Any text as a user's model file.
import DiskModel
import Scenario
import Simulation

nonisolated(unsafe) private var sink: UInt64 = 0

/// The whole input is the file. What is understood is written and read again, made for a small disk, and asked
/// for a few requests.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzModel(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  guard let file = try? ModelFile(text: text, path: "model.toml") else { return 0 }
  // A file that it names would be a file of this machine.
  guard !text.contains("fio") else { return 0 }
  guard let again = try? ModelFile(text: file.parameters.toml, path: "again.toml"),
    sorted(.table(again.parameters)) == sorted(.table(file.parameters))
  else { fatalError("it is not what it was once it is written: \(file.parameters.toml)") }
  guard let model = try? ModelDescription(specification: "fuzz", parameters: file.parameters),
    let made = try? model.make(for: ModelContext(diskSize: 8 << 20))
  else { return 0 }
  ask(made)
  return 0
}

private func ask(_ model: some DiskModel) {
  var model = model
  var loop = ClosedLoop()
  for operation in ModelRequest.Operation.allCases {
    let workload = ModelWorkload(.random, operation, depth: 4, count: 12, range: 0..<8 << 20)
    loop.run(workload, on: &model, stream: RandomStream(seed: 1, name: "fuzz")) { _, submitted, completed in
      if completed < submitted { fatalError("a request is done before it was made") }
    }
  }
  for counter in model.counters { sink &+= counter.value }
}

/// With the keys of all tables in one order: TOML has none.
private func sorted(_ value: ParameterValue) -> ParameterValue {
  switch value {
  case .array(let values): .array(values.map(sorted))
  case .table(let table):
    .table(
      ParameterTable(
        table.entries.sorted { $0.key < $1.key }.map {
          ParameterTable.Entry(key: $0.key, value: sorted($0.value))
        }))
  default: value
  }
}
