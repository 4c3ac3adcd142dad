// Looking for damage.
package import BlockIO

/// Something that is not as it should be with an image.
package struct Finding: Equatable, Sendable {
  /// How bad it is.
  package enum Severity: String, Sendable {
    /// Contents are lost, or the image cannot be used as it is.
    case damage
    /// Nothing is lost; something is wasted, or some program would stumble.
    case warning
    /// Worth knowing.
    case note
  }

  /// What it is about.
  package enum Kind: String, Sendable {
    case header, references, truncated, short, excess, version
    case strayBits = "stray-bits"
    case padding
    case mixedPages = "mixed-pages"
    case leaks, backing, size, length, journal
  }

  /// What it is about.
  package let kind: Kind
  /// How bad it is.
  package let severity: Severity
  /// A line that says what and, where there is something to do, what to do.
  package let text: String
  /// How many bytes are concerned, where that makes sense.
  package let count: UInt64
  /// The first places, in bytes: on the disk for mixed pages and missing data, else in the file.
  package let places: [Range<UInt64>]

  init(_ kind: Kind, _ severity: Severity, _ text: String, _ places: Places = Places()) {
    self.kind = kind
    self.severity = severity
    self.text = text
    count = places.count
    self.places = places.first
  }
}

/// Looking at an image for what is wrong with it, and changing nothing.
package enum Check {
  /// What a check found.
  package struct Report: Equatable, Sendable {
    /// As it was given.
    package let path: String
    /// As it was named, or guessed.
    package let format: ImageFormat
    /// What is not as it should be, worst first.
    package let findings: [Finding]

    init(path: String, format: ImageFormat, findings: [Finding]) {
      self.path = path
      self.format = format
      self.findings =
        findings.filter { $0.severity == .damage } + findings.filter { $0.severity == .warning }
        + findings.filter { $0.severity == .note }
    }

    /// Whether contents are lost, or the image cannot be used as it is.
    package var isDamaged: Bool { has(.damage) }
    /// Whether there is more to say than notes.
    package var isImperfect: Bool { isDamaged || has(.warning) }

    private func has(_ severity: Finding.Severity) -> Bool { findings.contains { $0.severity == severity } }
  }

  /// Checks an image, under a read lock unless `options.lock` says otherwise.
  ///
  /// A header that makes no sense is a finding; a file that cannot be read, or that somebody writes to, is an
  /// error.
  package static func run(
    path: String, options: ImageOptions = ImageOptions(), registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine(), progress: Progress
  ) throws(DiskImageError) -> Report {
    let (file, format) = try openOperationFile(
      path, format: options.format, writable: false, lock: options.lock, registry: registry, engine: engine)
    var findings: [Finding]
    switch format {
    case .raw: findings = checkRaw(file)
    case .qcow2:
      findings = try QCOW2.findings(of: file, engine: engine)
    case .umlCOW:
      findings = try UMLCOW.check(
        file, options: options, registry: registry, engine: engine, progress: progress)
    }
    findings += try JournalRecovery.run(file, format: format, mayWrite: false, engine: engine)
      .map { Finding(.journal, .warning, $0) }
    return Report(path: path, format: format, findings: findings)
  }

  private static func checkRaw(_ file: ImageFile) -> [Finding] {
    let rest = file.size % Limits.sectorSize
    if file.size == 0 { return [Finding(.length, .warning, "the file is empty: there is no disk")] }
    guard rest > 0 else { return [] }
    var places = Places()
    places.add(file.size - rest..<file.size)
    return [
      Finding(
        .length, .warning,
        "the length is no multiple of 512: uml_moo drops the last \(rest) bytes (remedy: ttblk image resize)",
        places)
    ]
  }
}
