// What can be said about a qcow2 file without using it.
package import BlockIO

extension ImageInfo {
  /// What is known of a qcow2 file; also when its backing file is missing.
  package struct QCOW2Details: Equatable, Sendable {
    /// 2 or 3.
    package let version: UInt32
    /// Bytes in a cluster.
    package let clusterSize: UInt64
    /// Width of a reference count.
    package let refcountBits: UInt32
    /// How compressed clusters are compressed, if there are any.
    package let compression: CompressedCluster.Method
    /// Whether clusters have subclusters.
    package let isExtendedL2: Bool
    /// Whether it was not closed properly.
    package let isDirty: Bool
    /// Whether somebody found it to be corrupt.
    package let isCorrupt: Bool
    /// As the header has it; nil when there is none.
    package let backingPath: String?
    /// As the header has it; nil when it does not say.
    package let backingFormat: String?
    /// As the header has it; nil when data is in the file itself.
    package let dataFile: String?
    /// In the order of the table.
    package let snapshots: [QCOW2.Snapshot]
    /// Why the disk cannot be opened for reading, with the remedy; nil when it can.
    package let problem: String?
    /// What deserves attention though the disk can be opened.
    package internal(set) var warnings: [String]

    init(
      _ header: QCOW2.Header, _ file: ImageFile, options: ImageOptions, registry: FileRegistry,
      engine: any BlockEngine
    ) throws(DiskImageError) {
      version = header.version
      clusterSize = header.clusterSize
      refcountBits = 1 << header.refcountOrder
      compression = header.compression
      isExtendedL2 = header.isExtendedL2
      isDirty = header.incompatible & QCOW2.Incompatible.dirty != 0
      isCorrupt = header.incompatible & QCOW2.Incompatible.corrupt != 0
      backingPath = header.backingPath.isEmpty ? nil : String(decoding: header.backingPath, as: UTF8.self)
      backingFormat = header.text(of: QCOW2.ExtensionType.backingFormat)
      dataFile = header.hasDataFile ? header.text(of: QCOW2.ExtensionType.dataFile) : nil
      snapshots = (try? QCOW2.readSnapshots(header, of: file, engine: engine)) ?? []
      var readOnly = options
      readOnly.readOnly = true
      readOnly.lock = false
      do throws(DiskImageError) {
        let disk = try QCOW2.open(
          file, options: readOnly, registry: registry, engine: engine,
          chain: try Chain().adding(file.identity, path: file.path))
        warnings = disk.warnings
        problem = nil
      } catch {
        warnings = []
        problem = error.description
      }
    }
  }
}
