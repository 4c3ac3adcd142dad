// swift-tools-version: 6.2
// Fuzz targets. Tests/Fuzz/run.sh builds and runs them.
//
// The modules under test are symbolic links, so that they belong to this package: `package` access does not
// cross packages, and no dependency of the real package has to be fetched and instrumented.
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .treatAllWarnings(as: .error),
]

func fuzzer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  // libFuzzer brings main.
  .executableTarget(
    name: name, dependencies: dependencies, swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])])
}

let package = Package(
  name: "Fuzz",
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
  ],
  swiftLanguageModes: [.v6]
)
