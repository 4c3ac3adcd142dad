// What outlives a server that is killed.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Journals") struct JournalTests {
  static let formats: [ImageFormat] = [.umlCOW, .qcow2]

  @Test("killed at any system call, a server loses nothing that was completed", arguments: formats)
  func kill(format: ImageFormat) throws {
    var taken = 0
    for seed in 0..<12 * soak {
      let sample = try JournalImageSample(format, seed: seed)
      let journals = JournalScratch()
      var model = JournalModel(sample.start, seed: seed)
      for round in 0..<6 {
        let engine = FaultyEngine()
        let disk = try journals.open(sample.path, engine: engine)
        taken += disk.warnings.count
        let bytes = try disk.all()
        #expect(model.lost(in: bytes) == nil, "seed \(seed), round \(round)")
        model.settle(bytes)
        let operation: BlockOperation = [.write, .write, .synchronize, .zero][Int(model.random.next() % 4)]
        engine.fail(
          operation, skipping: Int(model.random.next() % 50), code: ENODEV,
          done: model.random.next() % 5 * 512)
        for _ in 0..<40 { if !model.step(disk) { break } }
        try engine.kill(disk)
        try sample.expectSound("seed \(seed), round \(round)")
      }
      let disk = try journals.open(sample.path)
      #expect(model.lost(in: try disk.all()) == nil, "seed \(seed), end")
      try disk.close()
      try sample.expectSound("seed \(seed), end")
      #expect(journals.names.isEmpty)
      #expect(journals.lines.all.isEmpty)
    }
    #expect(taken > 10)
  }

  @Test("killed while it takes over, it takes over the next time", arguments: formats)
  func killRecovery(format: ImageFormat) throws {
    for seed in 0..<12 * soak {
      let sample = try JournalImageSample(format, seed: seed)
      let journals = JournalScratch()
      var model = JournalModel(sample.start, seed: seed)
      let engine = FaultyEngine()
      let disk = try journals.open(sample.path, engine: engine)
      for _ in 0..<30 { model.step(disk, flushes: seed % 2 == 0) }
      #expect(model.attempted == nil)
      try engine.kill(disk)
      var isTakenOver = false
      for cut in 0..<200 where !isTakenOver {
        let engine = PowerCut(after: cut)
        // What is written stays, also without a flush.
        var disk: (any DiskImage)?
        var failure: DiskImageError?
        do { disk = try journals.open(sample.path, engine: engine) } catch { failure = error }
        isTakenOver = disk != nil
        try #require(
          isTakenOver || engine.isOff,
          "seed \(seed), cut \(cut): \(failure.map(String.init(describing:)) ?? "")")
        try engine.medium.crash { _, count in count }
        try? disk?.close()
      }
      #expect(isTakenOver)
      let after = try journals.open(sample.path)
      #expect(try after.all() == model.bytes, "seed \(seed)")
      try after.close()
      try sample.expectSound("seed \(seed)")
    }
  }

  /// The journal goes with the power, and the order of what is on the medium is what it was.
  @Test("when the power goes, all that was flushed is there", arguments: formats)
  func power(format: ImageFormat) throws {
    for seed in 0..<12 * soak {
      let sample = try JournalImageSample(format, seed: seed)
      let journals = JournalScratch()
      var random = RandomStream(seed: seed, name: "journal power")
      for round in 0..<6 {
        let engine = FaultyEngine(holdsUnsynchronized: true)
        let disk = try journals.open(sample.path, engine: engine)
        let possible = try runUntilPowerCut(disk, on: engine, random: &random)
        journals.empty()
        try sample.expectSound("seed \(seed), round \(round)")
        let after = try journals.open(sample.path)
        #expect(after.warnings.isEmpty)
        let lost = lostByte(try after.all(), possible)
        #expect(lost == nil, "seed \(seed), round \(round)")
        try after.close()
      }
    }
  }

  @Test("an image that is closed names no journal, and there is none", arguments: formats)
  func close(format: ImageFormat) throws {
    let sample = try JournalImageSample(format, seed: 3)
    let journals = JournalScratch()
    let before = readFile(sample.path)
    var disk = try journals.open(sample.path)
    #expect(journals.names.count == 1)
    _ = try disk.all()
    try disk.close()
    #expect(readFile(sample.path) == before)
    disk = try journals.open(sample.path)
    try disk.put([1], at: 700)
    #expect(try name(sample)?.fileName == journals.names.first)
    try disk.close()
    #expect(try name(sample) == nil)
    #expect(journals.names.isEmpty)
  }

  private func name(_ sample: JournalImageSample) throws -> JournalName? {
    let bytes = readFile(sample.path)
    return JournalName.read(sample.format == .qcow2 ? .qcow2 : .umlCOW) { offset, count in
      Array(bytes[min(offset, bytes.count)..<min(offset + count, bytes.count)])
    }
  }

  @Test("whoever only reads says what is missing, and whoever writes takes it over", arguments: formats)
  func commands(format: ImageFormat) throws {
    let sample = try JournalImageSample(format, seed: 4)
    let journals = JournalScratch()
    var model = JournalModel(sample.start, seed: 4)
    let engine = FaultyEngine()
    let disk = try journals.open(sample.path, engine: engine)
    for _ in 0..<10 { model.step(disk, flushes: false) }
    #expect(model.attempted == nil)
    try engine.kill(disk)
    let options = ImageOptions(readOnly: true)
    #expect(
      try openImage(path: sample.path, options: options, registry: FileRegistry()).warnings.contains {
        $0.contains("may lack what a killed server had not flushed")
      })
    let info = try ImageInfo(path: sample.path, registry: FileRegistry())
    let warnings = info.cow?.warnings ?? info.qcow2?.warnings ?? []
    #expect(warnings.contains { $0.contains("ttblk image repair") })
    let check = try Check.run(path: sample.path, registry: FileRegistry(), progress: Progress())
    #expect(check.findings.contains { $0.kind == .journal && $0.severity == .warning })
    var notices: [String] = []
    let registry = FileRegistry { notices.append($0) }
    try Snapshot.create(of: sample.path, name: "s", registry: registry, progress: Progress())
    #expect(notices.count == 1 && notices[0].hasPrefix("took over"))
    #expect(journals.names.isEmpty)
    let copy = try openImage(path: sample.path + "@s", options: options, registry: FileRegistry())
    #expect(copy.warnings.isEmpty)
    #expect(try copy.all() == model.bytes)
  }
}
