// What a drive's parameters may be, and what is said of those that may not.
import DiskModel
import Simulation
import Testing

@Suite struct SSDParametersTests {
  private func message(_ changes: ParameterTable) -> String {
    do {
      _ = try SSDBench.parameters("ssd-nvme-mlc", changes)
      return ""
    } catch { return "\(error)" }
  }

  @Test func whatIsWrongIsToldInOneLineWithKeyAndValue() {
    let cases: [(ParameterTable, String)] = [
      (["channels": 0], "'channels' is 0, not a whole number from 1 to 256"),
      (["channels": 6], "'partitions' is 4, which does not divide the 6 channels"),
      (["flash_page": "6KiB"], "'flash_page' is 6144 bytes, not a multiple of 4096"),
      (["program_unit": "48KiB"], "'program_unit' is 49152 bytes, not a multiple of the 32768 bytes"),
      (["planes": 16], "more than 256 KiB"),
      (["read": ["30us", "x"]], "not an array of times up to 1s of one to eight types of pages"),
      (["read": []], "'read' has 0 values"),
      (["read": ["30us", "40us", "50us"]], "'read_4k' has 2 times and 'read' 3"),
      (["program": 0], "'program' is 0"),
      (["write_buffer": "128KiB"], "at least two program units for each partition (262144)"),
      (["program_suspend": "20us"], "'program_suspend' needs scheduler = \"read_first\""),
      (["over_provisioning": "7"], "'over_provisioning' is \"7\", not a percentage from 1% to 1000%"),
      (["over_provisioning": "0.5%"], "not a percentage"),
      (["over_provisioning": "7.0001%"], "not a percentage"),
      (["over_provisioning": "-7%"], "not a percentage"),
      (["precondition": "random:0"], "not \"none\", \"fill\" or \"random:K\""),
      (["scheduler": "sometimes"], "not one of fifo, read_first"),
      (["map_cache": "8KiB"], "'map_cache' is 8192 bytes, less than 64 KiB"),
      (["map_cache": "64KiB", "map_fetch": "256B"], "'map_fetch' is \"256B\", not a size from 512"),
      (["map_cache": "64KiB", "map_fetch": 1536], "'map_fetch' is 1536 bytes, not a power of two"),
      (["map_fetch": 512], "'map_fetch' needs a 'map_cache'"),
      (["overprovisioning": "7%"], "unknown key 'overprovisioning'; did you mean over_provisioning?"),
      (["link_bandwidth": "fast"], "'link_bandwidth' is \"fast\""),
    ]
    for (changes, expected) in cases {
      let text = message(changes)
      #expect(text.contains(expected), "\(changes.entries.map(\.key)): \(text)")
      #expect(!text.contains("\n"))
    }
    #expect(message(["over_provisioning": "6.25%"]).isEmpty)
    #expect(message(["read": "30us", "read_4k": "29us"]).isEmpty)
  }

  @Test func everyKeyThatIsNeededIsMissed() throws {
    let preset = try #require(Preset.all.first { $0.name == "ssd-nvme-mlc" })
    for key in [
      "channels", "dies_per_channel", "flash_page", "read", "program", "channel_bandwidth", "link_bandwidth",
      "firmware_read", "firmware_write", "write_buffer", "power_loss_protection", "over_provisioning",
    ] {
      var table = preset.parameters
      table["kind"] = nil
      table[key] = nil
      #expect(throws: DiskModelError.self, "\(key)") { try SSDParameters(ParameterReader(table)) }
    }
  }

  @Test func aSpecificationChangesAPreset() throws {
    let text = "ssd-nvme-mlc:precondition=random1:over_provisioning=15%:read=40us:read_4k=39us"
    let model = try #require(
      try ModelDescription(parsing: text).make(for: ModelContext(diskSize: 48 << 20)) as? SSDModel)
    #expect(model.placement?.hasSuffix("; 15.007 % spare") == true, "\(model.placement ?? "")")
    var probe = SSDProbe(model)
    #expect(probe.latency(.read) == 21_500 + 39_000 + 4_864 + 1_152)
    #expect(throws: DiskModelError.self) { try ModelDescription(parsing: "ssd-nvme-mlc:channels=3") }
  }

  @Test func everyPresetMakesADriveForAnyDisk() throws {
    let presets = Preset.all.filter { $0.parameters["kind"] == "ssd" }
    #expect(presets.count >= 4)
    for preset in presets {
      #expect(!preset.summary.isEmpty && !preset.source.isEmpty && !preset.summary.contains("\n"))
      for disk in [4096, 100 << 20, 3 << 30] as [UInt64] {
        var probe = SSDProbe(try SSDBench.model(preset.name, disk: disk, [:]))
        #expect(probe.model.minimumLatency.nanoseconds > 0, "\(preset.name)")
        for operation in [ModelRequest.Operation.read, .write, .flush, .discard, .writeZeroes] {
          let latency = probe.latency(operation)
          #expect((1...10_000_000).contains(latency), "\(preset.name) \(operation) \(latency)")
        }
        #expect(probe.model.placement?.isEmpty == false)
      }
    }
  }
}
