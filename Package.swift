// swift-tools-version: 6.2
// ttblk: copy-on-write disks for simulated machines. The arrows between modules: Tests/TidyTests.
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .treatAllWarnings(as: .error),
  // Debug builds, and so all tests, look for overlapping accesses at run time; on the path of a request that
  // costs a call into the runtime for each access to a property of a class.
  .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")
let toml = Target.Dependency.product(name: "TOMLKit", package: "TOMLKit")

let package = Package(
  name: "ttblk",
  products: [
    .executable(name: "ttblk", targets: ["ttblk"])
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
  ],
  targets: [
    .target(name: "CLinux", cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])]),
    .target(
      name: "CUring", cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])],
      linkerSettings: [.linkedLibrary("uring")]),
    .target(
      name: "CAIO", cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])],
      linkerSettings: [.linkedLibrary("aio")]),
    .systemLibrary(name: "CCompression", providers: [.apt(["zlib1g-dev", "libzstd-dev"])]),
    .systemLibrary(name: "CGnuTLS", pkgConfig: "gnutls", providers: [.apt(["libgnutls28-dev"])]),
    .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
    module("Linux", ["CLinux"]),
    module("Simulation", [heap]),
    module("Telemetry", ["Simulation", "CXXHash", histogram]),
    module("TimeTravel", ["Linux", "CLinux", "Simulation"]),
    module("BlockIO", ["Linux", "CLinux", "CUring", "CAIO"]),
    module("DiskModel", ["Simulation"]),
    module("DiskImage", ["BlockIO", "Linux", "CLinux", "CCompression"]),
    module("VhostUser", ["Linux", "CLinux"]),
    module("BlockDevice", ["DiskImage", "BlockIO", "Linux", "DiskModel", "Simulation", "Telemetry"]),
    module("VirtioBlock", ["VhostUser", "BlockDevice", "Simulation"]),
    module("NBD", ["Linux", "CLinux", "CGnuTLS", "BlockDevice", "BlockIO", "DiskImage", "Simulation"]),
    module(
      "Scenario",
      [
        "Linux", "CLinux", "Simulation", "Telemetry", "TimeTravel", "BlockIO", "DiskModel", "DiskImage",
        "VhostUser",
        "BlockDevice", "VirtioBlock", "NBD", toml,
      ]),
    module("TestKit", ["Linux", "CLinux", "Simulation", "Telemetry", "TimeTravel", "VhostUser"]),
    .executableTarget(
      name: "ttblk",
      dependencies: [
        "Linux", "Simulation", "Telemetry", "TimeTravel", "BlockIO", "DiskImage", "DiskModel", "BlockDevice",
        "NBD", "Scenario", "TestKit", argumentParser,
      ],
      swiftSettings: settings),
    tests("BlockIOTests", ["BlockIO", "Linux", "CLinux", "Simulation"]),
    tests(
      "BlockDeviceTests",
      ["BlockDevice", "DiskImage", "DiskModel", "BlockIO", "Simulation", "Telemetry"]),
    tests("DiskImageTests", ["DiskImage", "BlockIO", "Linux", "Simulation"]),
    .target(name: "SingleStep", path: "Tests/SingleStep"),
    tests("VhostUserTests", ["VhostUser", "TestKit", "Linux", "Simulation", "SingleStep"]),
    tests("NBDTests", ["NBD", "BlockDevice", "DiskImage", "BlockIO", "Linux", "Simulation"]),
    tests("CommandTests", ["ttblk", "Linux", "Simulation"]),
    tests("LinuxTests", ["Linux", "CLinux"]),
    tests("SimulationTests", ["Simulation"]),
    tests("DiskModelTests", ["DiskModel", "Simulation"]),
    tests("ScenarioTests", ["Scenario", "DiskModel", "Simulation"]),
    tests("TelemetryTests", ["Telemetry", "Simulation"]),
    tests("TidyTests", []),
    // Real UML kernels; images/guest/build.sh --debian builds them.
    tests("GuestTests", ["ttblk", "DiskImage", "DiskModel", "BlockIO", "Linux", "Simulation"]),
    tests("TimeTravelTests", ["TimeTravel", "Linux", "CLinux", "Simulation", "TestKit"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
