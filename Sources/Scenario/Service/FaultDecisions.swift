// Where the decisions of faults go, and where they may come from.
package import BlockDevice
import Glibc
import Linux

/// The log of a run's faults, and that of an earlier run whose decisions are repeated.
package final class FaultDecisions {
  /// nil makes decisions.
  package let replay: [FaultRecord]?
  private let log: Descriptor?

  /// Neither.
  package init() {
    replay = nil
    log = nil
  }

  /// - Parameters:
  ///   - path: of the log, which begins anew.
  ///   - replay: of the log of the earlier run; nil makes decisions.
  package init(log path: String?, replaying replay: String?) throws(ServiceError) {
    if let replay {
      // Before the log: it may be the same file.
      do throws(ConfigurationError) {
        let text = try readText(replay, limit: 1 << 30)
        do throws(FaultError) { self.replay = try FaultRecord.parse(log: text) } catch {
          throw ConfigurationError(error.description, file: replay)
        }
      } catch { throw .configuration(error) }
    } else {
      self.replay = nil
    }
    guard let path else {
      log = nil
      return
    }
    do throws(LinuxError) {
      log = Descriptor(
        owning: try retrying("create", path) {
          open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o644)
        })
    } catch { throw .system(error) }
  }

  func append(_ record: FaultRecord) {
    switch log {
    case .some(let descriptor): writeText(record.line + "\n", to: descriptor.rawValue)
    case .none: break
    }
  }

  /// Of one disk.
  func replay(of disk: DiskConfiguration) throws(FaultError) -> FaultReplay? {
    guard let replay else { return nil }
    return try FaultReplay(replay, disk: disk.name, plan: disk.faults)
  }

  /// Complains of a log that speaks of other disks.
  func check(_ disks: [DiskConfiguration]) throws(ServiceError) {
    guard let record = replay?.first(where: { record in !disks.contains { $0.name == record.disk } }) else {
      return
    }
    throw .configuration(
      ConfigurationError("the log of faults is of another run: there is no disk '\(record.disk)' here"))
  }
}
