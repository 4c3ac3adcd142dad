// The pictures of a model: what is measured, and how it is drawn.
import DiskModel
import Scenario
import Simulation

/// Data and the script that draws it; both are files of this name.
struct Picture {
  let name: String
  /// CSV with a header.
  let data: String
  /// gnuplot's commands without the terminal.
  private let commands: String

  init(name: String, data: String, commands: String) {
    self.name = name
    self.data = data
    self.commands = commands
  }

  var script: String {
    """
    set terminal pngcairo size 1000,700
    set output '\(name).png'
    set datafile separator ','
    set grid
    \(commands)

    """
  }
}

extension ModelPlotCommand {
  private static let depths = [1, 2, 4, 8, 16, 32, 64]

  /// A title in gnuplot's single quotes.
  private var title: String { model.name.map { $0 == "'" ? "''" : String($0) }.joined() }

  func latencyPictures(_ description: ModelDescription) throws -> [Picture] {
    var shares = "depth,percent,latency_us\n"
    var rates = "depth,requests_per_second,mean_us,p50_us,p99_us,max_us\n"
    func microseconds(_ value: UInt64) -> String { fixed(Double(value) / 1000, 3) }
    for depth in Self.depths {
      let workload = ModelWorkload(
        .random, .read, depth: depth, count: count, range: 0..<model.diskSize.bytes)
      let result = ModelMeasurement(workload, on: try model.make(description), seed: model.seed)
      for perThousand in stride(from: 0, through: 1000, by: 5) {
        shares +=
          "\(depth),\(fixed(Double(perThousand) / 10, 1)),\(microseconds(result.percentile(perThousand)))\n"
      }
      let rate = result.perSecond.isFinite ? fixed(result.perSecond, 1) : ""
      rates +=
        "\(depth),\(rate),\(microseconds(result.mean)),\(microseconds(result.percentile(500))),"
        + "\(microseconds(result.percentile(990))),\(microseconds(result.percentile(1000)))\n"
    }
    let curves = Self.depths.map {
      "'latency.csv' every ::1 using ($1 == \($0) ? $3 : NaN):2 with lines lw 2 title 'depth \($0)'"
    }
    return [
      Picture(
        name: "latency", data: shares,
        commands: """
          set title '\(title): random reads of 4 KiB' noenhanced
          set logscale x
          set xlabel 'latency, us'
          set ylabel 'requests that took no longer, %'
          set key bottom right
          plot \(curves.joined(separator: ", \\\n  "))
          """),
      Picture(
        name: "depth", data: rates,
        commands: """
          set title '\(title): random reads of 4 KiB' noenhanced
          set logscale x 2
          set logscale y2
          set xlabel 'depth'
          set ylabel 'requests a second'
          set y2label 'latency, us'
          set y2tics
          set yrange [0:*]
          set key top left
          plot 'depth.csv' every ::1 using 1:2 with linespoints lw 2 title 'requests a second', \\
            '' every ::1 using 1:3 axes x1y2 with linespoints title 'mean', \\
            '' every ::1 using 1:5 axes x1y2 with linespoints title '99 %'
          """),
    ]
  }

  /// Pairs of reads: the second one's latency, by about how far it is from the first.
  ///
  /// Each a little further or nearer: at one exact distance the platter would always be in the same place.
  func seekPicture(_ description: ModelDescription) throws -> Picture {
    var device = try model.make(description)
    var loop = ClosedLoop()
    var stream = RandomStream(seed: model.seed, name: "seek")
    let blocks = model.diskSize.bytes / 4096
    let (steps, pairs): (UInt64, Int) = (100, max(20, count / 10))
    var data = "distance_percent,p1_us,mean_us\n"

    func read(_ block: UInt64) -> UInt64 {
      var latency: UInt64 = 0
      let workload = ModelWorkload(
        .sequential, .read, count: 1, range: block * 4096..<(block + 1) * 4096)
      loop.run(workload, on: &device, stream: stream) { latency = $2.since($1).nanoseconds }
      return latency
    }
    // Closely spaced at first, where the curve bends.
    for step in 5..<steps - 1 {
      let about = max(blocks * step * step / (steps * steps), 1)
      var latencies: [UInt64] = []
      for _ in 0..<pairs {
        let distance = about + stream.next(upperBound: blocks / 200)
        let first = stream.next(upperBound: blocks - distance)
        let isUp = stream.next() & 1 == 0
        _ = read(isUp ? first : first + distance)
        latencies.append(read(isUp ? first + distance : first))
      }
      // Not the least: now and then the second one lies in the cache.
      latencies.sort()
      let (low, mean) = (latencies[pairs / 100], latencies.reduce(0, +) / UInt64(pairs))
      let percent = fixed(Double(about) * 100 / Double(blocks), 3)
      data += "\(percent),\(fixed(Double(low) / 1000, 3)),\(fixed(Double(mean) / 1000, 3))\n"
    }
    return Picture(
      name: "seek", data: data,
      commands: """
        set title '\(title): a read after a read elsewhere' noenhanced
        set xlabel 'distance, % of the disk'
        set ylabel 'latency, us'
        set yrange [0:*]
        set key bottom right
        plot 'seek.csv' every ::1 using 1:2 with linespoints title '1 % took less (seek, overhead)', \\
          '' every ::1 using 1:3 with lines lw 2 title 'mean (and half a revolution)'
        """)
  }

  /// Random writes on a full drive: three times what it holds.
  func cliffPicture(_ description: ModelDescription) throws -> Picture {
    var parameters = description.parameters
    parameters["precondition"] = "fill"
    let full: ModelDescription
    do throws(DiskModelError) {
      full = try ModelDescription(specification: model.name, parameters: parameters)
    } catch {
      throw CommandFailure(.usage, "\(model.name): \(error)")
    }
    // A smaller drive of the same shape has the same cliff, sooner.
    let size = min(model.diskSize.bytes, 1 << 30)
    var options = model
    options.diskSize = ByteCount(bytes: size)
    var device = try options.make(full)
    let blocks = Int(size / 4096)
    let window = max(1, blocks / 50)
    var data = "written_times,requests_per_second\n"
    var (done, begin) = (0, SimulationTime.zero)
    var loop = ClosedLoop()
    let workload = ModelWorkload(.random, .write, depth: 32, count: 3 * blocks, range: 0..<size)
    loop.run(workload, on: &device, stream: RandomStream(seed: model.seed, name: "cliff")) { _, _, time in
      done += 1
      guard done % window == 0 else { return }
      let span = max(1, time.since(begin).nanoseconds)
      begin = time
      data +=
        "\(fixed(Double(done) / Double(blocks), 3)),\(fixed(Double(window) * 1e9 / Double(span), 1))\n"
    }
    return Picture(
      name: "cliff", data: data,
      commands: """
        set title '\(title): random writes of 4 KiB at depth 32 on a full drive' noenhanced
        set xlabel 'written, times the drive'
        set ylabel 'requests a second'
        set yrange [0:*]
        plot 'cliff.csv' every ::1 using 1:2 with lines lw 2 notitle
        """)
  }
}
