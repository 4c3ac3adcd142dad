// Changing what the header says.
package import BlockIO

extension QCOW2 {
  /// Names another backing file, or none, without looking at either; what the disk shows changes with it.
  /// - Parameter backing: a relative path is relative to the file's own folder.
  package static func changeBacking(
    path: String, to backing: Backing?, lock: Bool = true, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    try changeBacking(
      of: try registry.openFile(path, writable: true, lock: lock, style: .qemu), to: backing, engine: engine)
  }

  /// As `changeBacking(path:)`, of a file that is open for writing.
  static func changeBacking(
    of file: ImageFile, to backing: Backing?, engine: any BlockEngine
  ) throws(DiskImageError) {
    let old = try readHeader(file, engine: engine)
    guard old.incompatible & Incompatible.corrupt == 0 else { throw .qcow2(path: file.path, .corrupt) }
    var new = old
    try new.setBacking(backing, path: file.path)
    _ = try rewrite(old, as: new, of: file, engine: engine)
  }

  /// Makes version 3 of version 2, which only the header tells apart; nothing is done to version 3.
  package static func upgrade(
    path: String, lock: Bool = true, registry: FileRegistry, engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    try upgrade(try registry.openFile(path, writable: true, lock: lock, style: .qemu), engine: engine)
  }

  /// As `upgrade(path:)`, of a file that is open for writing.
  static func upgrade(_ file: ImageFile, engine: any BlockEngine) throws(DiskImageError) {
    let old = try readHeader(file, engine: engine)
    guard old.version == 2 else { return }
    // Version 3 needs the length of the disk in each snapshot.
    guard try readSnapshots(old, of: file, engine: engine).allSatisfy({ $0.extraCount >= 16 }) else {
      throw .qcow2(path: file.path, .oldSnapshots)
    }
    var new = old
    new.version = 3
    new.headerLength = Header.ownLength
    new.tail = [UInt8](repeating: 0, count: 7)
    _ = try rewrite(old, as: new, of: file, engine: engine)
  }
}

extension QCOW2.Disk {
  /// Names another backing file, or none, in the header; the open disk keeps what it has.
  package func changeBacking(to backing: QCOW2.Backing?) throws(DiskImageError) {
    try requireOpen(writing: true)
    try writeBack()
    var new = header
    try new.setBacking(backing, path: path)
    header = try QCOW2.rewrite(header, as: new, of: metadata, engine: engine)
  }
}
