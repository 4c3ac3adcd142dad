// swift-tools-version: 6.2
// Fuzz targets. Tests/Fuzz/run.sh builds and runs them.
//
// The modules under test are symbolic links, so that they belong to this package: `package` access does not
// cross packages. Of some only the files are here that parsers need, so that few dependencies of the real package
// have to be instrumented: the reader of TOML, which is worth it, and the heap of the models' events.
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .treatAllWarnings(as: .error),
]

/// A part of a module.
func part(_ name: String, _ sources: [String], _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, sources: sources, swiftSettings: settings)
}

func fuzzer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  // libFuzzer brings main.
  .executableTarget(
    name: name, dependencies: dependencies, swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])])
}

let package = Package(
  name: "Fuzz",
  dependencies: [
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
  ],
  targets: [
    .target(name: "CLinux"),
    .target(name: "CUring", linkerSettings: [.linkedLibrary("uring")]),
    .target(name: "CAIO", linkerSettings: [.linkedLibrary("aio")]),
    .systemLibrary(name: "CCompression", providers: [.apt(["zlib1g-dev", "libzstd-dev"])]),
    .target(name: "Linux", dependencies: ["CLinux"], swiftSettings: settings),
    .target(name: "VhostUser", dependencies: ["Linux"], swiftSettings: settings),
    .target(name: "TestKit", dependencies: ["Linux", "VhostUser"], swiftSettings: settings),
    .target(
      name: "BlockIO", dependencies: ["Linux", "CLinux", "CUring", "CAIO"], swiftSettings: settings),
    .target(
      name: "DiskImage", dependencies: ["BlockIO", "Linux", "CLinux", "CCompression"], swiftSettings: settings
    ),
    fuzzer("fuzz-messages", ["VhostUser", "Linux", "TestKit"]),
    fuzzer("fuzz-chains", ["VhostUser", "Linux", "TestKit"]),
    fuzzer("fuzz-qcow2", ["DiskImage", "BlockIO", "CLinux"]),
    fuzzer("fuzz-cow", ["DiskImage", "BlockIO", "CLinux"]),
    // The part of the module that knows neither sockets nor disks.
    .target(name: "NBDProtocol", swiftSettings: settings),
    fuzzer("fuzz-nbd", ["NBDProtocol"]),
    .target(
      name: "Simulation", dependencies: [.product(name: "HeapModule", package: "swift-collections")],
      swiftSettings: settings),
    .target(name: "DiskModel", dependencies: ["Simulation"], swiftSettings: settings),
    part("Telemetry", ["JSON.swift", "JSONText.swift"]),
    part(
      "BlockDevice", ["BlockRequest.swift", "Faults", "Limits.swift", "Name.swift"],
      ["BlockIO", "DiskImage", "Simulation", "Telemetry"]),
    part(
      "Scenario",
      [
        "Configuration/ConfigurationError.swift", "Configuration/ConfigurationTable.swift",
        "Configuration/TextFile.swift", "Configuration/TOMLText.swift", "Model", "Report/Decimals.swift",
      ],
      [
        "Linux", "Simulation", "Telemetry", "DiskModel", .product(name: "TOMLKit", package: "TOMLKit"),
      ]),
    fuzzer("fuzz-model", ["Scenario", "DiskModel", "Simulation"]),
    fuzzer("fuzz-fio", ["Scenario", "DiskModel"]),
    fuzzer("fuzz-faults", ["BlockDevice", "BlockIO", "CLinux", "DiskImage", "Simulation"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
