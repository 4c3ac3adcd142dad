// A disk's latency is charged in simulated time, exactly, and costs few messages.
import Foundation
import Testing

@Suite("Latency in simulated time") struct LatencyTests {
  private let requests = 2000

  private func reads(_ count: Int, model: String) -> NodeText {
    NodeText(jobs: ["io:/dev/vda,--requests,\(count)"], disks: [DiskText(model: model)])
  }

  /// Time messages per request: what a run costs more than one without requests.
  private func messagesPerRequest(
    _ folder: Folder, _ result: RunResult, model: String, _ arrangement: Arrangement
  ) throws -> Double {
    let baseline = try folder.run([reads(0, model: model)], as: arrangement)
    return Double(result.messages - baseline.messages) / Double(requests)
  }

  @Test(
    "2,000 reads of 50 us take the same guest time and give the same digest however the processes are arranged"
  )
  func affine() throws {
    let folder = try Folder()
    var essences: [RunResult.Essence] = []
    for (arrangement, limit) in zip(Arrangement.all, [2.0, 16, 4, 28]) {
      let result = try folder.run([reads(requests, model: "affine:50us")], as: arrangement)
      essences.append(result.essence)
      // The model, and at most three of the guest's own clock reads, of 256 ns each.
      let expected = 50_000...50_768
      #expect(expected.contains(try #require(result.number("min_ns"))))
      #expect(expected.contains(try #require(result.number("max_ns"))))
      #expect(expected.contains(try #require(result.number("total_ns")) / requests))
      let messages = try messagesPerRequest(folder, result, model: "affine:50us", arrangement)
      #expect(messages <= limit + 0.05, "\(arrangement): \(messages) messages per request")
      let disk = try #require(result.disks.first)
      #expect(disk["latencyMean"] as? Int == 50_000 && disk["latencyMax"] as? Int == 50_000)
    }
    for essence in essences { #expect(essence == essences[0]) }
    folder.expectNothingLeft()
  }

  @Test("the zero model costs no message, and the guest the same time under external as under inf-cpu")
  func zero() throws {
    let folder = try Folder()
    let external = try folder.run([reads(requests, model: "zero")])
    let messages = try messagesPerRequest(folder, external, model: "zero", .embedded)
    #expect(messages <= 0.05, "\(messages) messages per request")
    let separate = try folder.run([reads(requests, model: "zero")], as: Arrangement.all[2])
    let infinite = try folder.run(
      [reads(requests, model: "zero")], top: "seed = 7\ntime-travel = \"inf-cpu\"")
    #expect(infinite.messages == 0)
    let total = try #require(external.number("total_ns"))
    #expect(infinite.number("total_ns") == total && separate.number("total_ns") == total)
    #expect(total < requests * 1024, "only clock reads: \(total) ns")
    #expect(separate.essence.contents == external.essence.contents)
    #expect(infinite.essence.contents == external.essence.contents)
    folder.expectNothingLeft()
  }

  @Test("what a model counts is in the report, the same however the processes are arranged")
  func counters() throws {
    let folder = try Folder()
    var reports: [NSDictionary] = []
    for arrangement in Arrangement.all {
      let result = try folder.run(
        [reads(100, model: "affine:latency=50us:servers=1:queue_depth=1")], as: arrangement)
      let disk = try #require(result.disks.first)
      let requests = try #require(disk["requests"] as? Int)
      let counters = try #require(disk["counters"] as? [String: Int])
      #expect(counters == ["busy_ns": requests * 50_000, "queue_waits": 0, "queue_wait_ns": 0])
      reports.append(disk as NSDictionary)
    }
    for report in reports { #expect(report == reports[0]) }
    let zero = try folder.run([reads(1, model: "zero")])
    #expect((zero.disks.first?["counters"] as? [String: Int])?.isEmpty == true)
  }

  @Test("bytes cost what the model says, to the nanosecond")
  func bandwidth() throws {
    let folder = try Folder()
    let node = NodeText(
      jobs: ["io:/dev/vda,--requests,50,--op,write,--block,65536,--pattern,sequential"],
      disks: [DiskText(model: "affine:120us:200MB/s")])
    let result = try folder.run([node])
    // 120 us and 65,536 bytes at 5 ns each.
    #expect(try #require(result.disks.first)["latencyMax"] as? Int == 120_000 + 65_536 * 5)
    #expect((447_680...448_700).contains(try #require(result.number("mean_ns"))))
  }
}
