// What the order by positioning time knows of the platters' angle.

/// How a drive reckons positioning times; the order of its requests depends on it, not how long each takes.
///
/// DiskSim's ways are here to compare with it: no drive would be so mistaken.
package enum HDDEstimate: String, CaseIterable, Sendable {
  /// As the arm and the platters will move.
  case exact
  /// From the angle at which the sector under the head began, or, where reading on had ended, from that; but
  /// the arm leaves at that sector's end. What has just come there is missed, for a revolution. The rest of
  /// a command's overhead is left out, too (DiskSim 4.0: `disk_buffer_estimate_servtime` takes the angle as
  /// it was last written down, `disk_buffer_stopable_access` has the arm wait for the sector).
  case diskSim = "disksim"
  /// The same with layouts of the kind "G4" and reads that begin with any sector: where the head comes down
  /// within a request, the sectors that have passed count as one instead of as a revolution (Western
  /// Digital's fork: `g4_sector_width` has the width of one sector, however many it is asked for).
  case diskSimG4 = "disksim-g4"
}

/// Where an arm that is to leave is in time.
struct HDDFooting: Sendable {
  /// When the platters had the last angle that is known.
  var known: UInt64
  /// When the arm may leave.
  var free: UInt64
}

extension HDDModel {
  /// At the present, the arm being free; the present itself for an exact estimate.
  func footing() -> HDDFooting {
    guard parameters.estimate != .exact else { return HDDFooting(known: time, free: time) }
    if let stream { return footing(on: stream, at: time) }
    return HDDFooting(known: min(lastFooting.known, time), free: max(lastFooting.free, time))
  }

  /// While the head reads on, as DiskSim's does: to the end of the track.
  func footing(on stream: HDDStream, at now: UInt64) -> HDDFooting {
    let track = geometry.zones[stream.place.zone].sectorsPerTrack - stream.place.sector
    let end = min(stream.from + UInt64(track), stream.limit)
    guard stream.begun <= now else { return HDDFooting(known: lastFooting.known, free: now) }
    let reached = stream.position(at: now, geometry)
    guard reached < end else { return HDDFooting(known: stream.passed(end, geometry), free: now) }
    let began = max(stream.begun, stream.passed(reached, geometry))
    return HDDFooting(known: began, free: max(now, stream.passed(reached + 1, geometry)))
  }

  /// The earliest start of the transfer, as a mistaken estimate has it.
  func shortestReckoned() -> Int {
    let turned = turning.angle(at: footing().known &+ phase)
    let stream = stream
    var (best, bestTime, bestOrder) = (0, UInt64.max, UInt64.max)
    for index in window.indices {
      let request = window[index]
      var delay: UInt64 = 0
      if request.isRead, let wait = stream?.wait(for: request.start, at: time, geometry) {
        delay = wait
      } else {
        delay = seek(to: request.place.cylinder, head: request.place.head, isRead: request.isRead)
        delay += reckoned(turning.wait(from: turned + delay, to: UInt64(request.angle)), to: request)
      }
      if delay < bestTime || delay == bestTime && request.order < bestOrder {
        (best, bestTime, bestOrder) = (index, delay, request.order)
      }
    }
    return best
  }

  /// What the estimate makes of the time until a request's first sector passes.
  private func reckoned(_ wait: UInt64, to request: Pending) -> UInt64 {
    guard parameters.estimate == .diskSimG4 else { return wait }
    let perTrack = geometry.zones[request.place.zone].sectorsPerTrack
    let sector = turning.revolution / UInt64(perTrack)
    let count = min(request.end - request.start, UInt64(perTrack - request.place.sector))
    let past = turning.revolution - wait
    guard past < (count - 1) * sector else { return wait }
    // To the next sector, and one for all those that have passed.
    return 2 * sector - past % sector
  }
}
