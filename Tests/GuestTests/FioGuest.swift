// fio in a guest, and the same requests asked of the models without one.
import DiskModel
import Foundation
import Simulation
import Testing

/// Random reads by fio from disks of several models: each at every depth, one job after the other.
struct FioGuest {
  static let models = ["hdd-7200", "ssd-nvme-mlc", "gp3"]
  static let depths = [1, 32]
  /// Requests of a job.
  static let requests = 400
  static let diskSize: UInt64 = 192 << 20
  static let seed: UInt64 = 7
  /// What the guest's kernel charges for a look at its clock, ns. Nothing else that it does takes time.
  static let clockRead = 256
  /// What a submission takes, fio's own looks and the kernel's together, and what taking a completion takes.
  static let submission = 8 * clockRead
  static let completion = clockRead
  /// Looks between the beginning and the end of what fio measures.
  static let measuring = 4 * clockRead

  struct Job: Hashable {
    let disk: Int
    let depth: Int
    var device: String { "vd" + "abc".dropFirst(disk).prefix(1) }
    var name: String { "\(device)-\(depth)" }
    var model: String { FioGuest.models[disk] }
  }

  /// In the order in which they run.
  static let jobs = depths.flatMap { depth in models.indices.map { Job(disk: $0, depth: depth) } }

  private static let jobFile =
    """
    [global]
    clocksource=clock_gettime
    ioengine=libaio
    thread
    direct=1
    rw=randread
    bs=4k
    number_ios=\(requests)
    stonewall
    log_offset=1

    """
    + jobs.map {
      """
      [\($0.name)]
      filename=/dev/\($0.device)
      iodepth=\($0.depth)
      write_iolog=/tmp/\($0.name)
      write_lat_log=/tmp/\($0.name)

      """
    }.joined()

  /// One node for all of it: what takes long is its start, and fio's.
  static func node(_ folder: Folder) throws -> NodeText {
    let names = Self.jobs.map(\.name).joined(separator: " ")
    let script = try folder.write(
      "fio.sh",
      Load.begin + """
        cat >/host/tmp/jobs <<'END'
        \(jobFile)
        END
        host /usr/bin/fio --output=/tmp/said --eta=never /tmp/jobs || { cat /host/tmp/said; exit 1; }
        for job in \(names); do
          sed "s/^/issued $job /" /host/tmp/$job
          sed "s/^/took $job /" /host/tmp/${job}_lat.*.log
        done

        """)
    return NodeText(
      // fio's libraries need that much.
      keys: "memory = \"192M\"\nscript = \"\(script)\"",
      disks: models.enumerated().map {
        DiskText(name: "d\($0)", source: "size = \"\(diskSize >> 20)M\"", model: $1)
      })
  }

  /// What fio wrote of one job.
  struct Measurement {
    /// Offsets in the order of submission; none comes twice.
    var submitted: [UInt64] = []
    /// And in the order of completion.
    var completed: [UInt64] = []
    /// From before the submission to after the completion, ns, by offset.
    var latencies: [UInt64: Int] = [:]

    /// Those that say something: at the end fio waits for all that is under way together, and takes the
    /// last one's time for theirs.
    func kept(_ depth: Int) -> ArraySlice<UInt64> { completed.dropLast(depth == 1 ? 0 : depth) }
  }

  /// Takes `issued JOB TIME FILE read OFFSET LENGTH` and `took JOB TIME, NS, 0, LENGTH, OFFSET, …` apart.
  static func measurements(_ console: String) -> [String: Measurement] {
    var result: [String: Measurement] = [:]
    for line in console.split(separator: "\n") {
      let words = line.split { $0 == " " || $0 == "," }
      switch (words.first, words.count) {
      case ("issued", 7):
        guard words[4] == "read", let offset = UInt64(words[5]) else { continue }
        result[String(words[1]), default: Measurement()].submitted.append(offset)
      case ("took", 8):
        guard let time = Int(words[3]), let offset = UInt64(words[6]) else { continue }
        result[String(words[1]), default: Measurement()].completed.append(offset)
        result[String(words[1]), default: Measurement()].latencies[offset] = time
      default: continue
      }
    }
    return result
  }
}
