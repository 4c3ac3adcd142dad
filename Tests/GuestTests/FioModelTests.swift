// What fio measures in a guest is what the model says.
import Foundation
import Testing

@Suite("fio in a guest on disk models") struct FioModelTests {
  /// A job in the guest beside the same requests asked of the model, means in nanoseconds.
  private struct Row {
    let job: FioGuest.Job
    let fio: Double
    let model: Double
    /// Of each request, ascending.
    let differences: [Int]

    init(_ job: FioGuest.Job, _ measured: FioGuest.Measurement, _ said: [UInt64: Int]) throws {
      self.job = job
      let kept = measured.kept(job.depth)
      let fios = try kept.map { try #require(measured.latencies[$0]) }
      let models = try kept.map { try #require(said[$0]) }
      fio = Double(fios.reduce(0, +)) / Double(kept.count)
      model = Double(models.reduce(0, +)) / Double(kept.count)
      differences = zip(fios, models).map { $0 - $1 }.sorted()
    }

    /// The share of requests that differ by at most so many looks at the clock.
    func share(within looks: Int) -> Double {
      let near = differences.filter { abs($0) <= looks * FioGuest.clockRead }
      return Double(near.count) / Double(differences.count)
    }

    var text: String {
      func us(_ value: Double) -> String { String(format: "%.3f", value / 1000) }
      return "| \(job.model), depth \(job.depth) | \(us(fio)) | \(us(model)) | "
        + "\(us(fio - model)) (\(String(format: "%+.3f", (fio / model - 1) * 100)) %) | "
        + "\(differences[0]) to \(differences[differences.count - 1]) | "
        + "\(String(format: "%.1f", share(within: 8) * 100)) % |"
    }
  }

  /// `TTBLK_FIO_REPORT=1 swift test --filter FioModelTests` prints the table of bench/RESULTS.md.
  @Test("random reads take in the guest what the model says, the same in every run and in every transport")
  func randomReads() throws {
    let folder = try Folder()
    let node = try FioGuest.node(folder)
    // Models say how they stand for a small disk.
    let first = try folder.run([node], warns: true)
    for arrangement in [Arrangement.all[0], Arrangement.all[3]] {
      let again = try folder.run([node], as: arrangement, warns: true)
      #expect(again.essence == first.essence, "\(arrangement)")
      #expect(again.disks as NSArray == first.disks as NSArray, "\(arrangement)")
    }
    folder.expectNothingLeft()

    let measured = FioGuest.measurements(first.console)
    for disk in FioGuest.models.indices {
      var replay = try FioReplay(disk: disk)
      for job in FioGuest.jobs where job.disk == disk {
        let one = try #require(measured[job.name])
        #expect(one.submitted.count == FioGuest.requests && one.latencies.count == FioGuest.requests)
        let row = try Row(job, one, try replay.run(job, one))
        if ProcessInfo.processInfo.environment["TTBLK_FIO_REPORT"] != nil { print(row.text) }
        check(row)
      }
    }
    try checkCounters(first)
  }

  private func check(_ row: Row) {
    if row.job.depth == 1 {
      // Four looks while fio measures; nine from one request to the next, which a disk that turns takes off.
      #expect(row.share(within: 6) == 1, "\(row.text)")
    } else {
      // Which of two events is first may hang on one look at the clock, and then much else on that.
      #expect(abs(row.fio / row.model - 1) < 0.02, "\(row.text)")
    }
  }

  private func checkCounters(_ result: RunResult) throws {
    // And the partition table.
    let requests = FioGuest.requests * FioGuest.depths.count + 1
    let counters = try result.disks.map { try #require($0["counters"] as? [String: Int]) }
    #expect(counters[0]["reads"] == requests && counters[0]["seeks", default: 0] > requests / 2)
    let reads = ["flash_reads", "unmapped_pages_read", "buffer_hit_pages"].map { counters[1][$0, default: 0] }
    #expect(reads.reduce(0, +) == requests)
    // At depth 32 the volume's 3,000 a second are the limit, at depth 1 they are not.
    #expect((FioGuest.requests * 9 / 10...FioGuest.requests).contains(counters[2]["throttled", default: 0]))
  }
}
