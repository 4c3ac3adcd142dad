// Devices whose time hardly depends on what they hold.

extension Preset {
  static let affine: [Preset] = [
    Preset(
      name: "optane",
      summary: "3D XPoint NVMe drive (Optane DC P4800X class): 4 KiB in 10 us, 600,000 requests a second",
      source: """
        10 us for 4 KiB: vendor's figure as quoted by KVM Forum 2020 slides; 2,400 MB/s and half a million \
        requests a second: recall. Assumed: six servers, which do not share the bandwidth, so that large \
        requests at depth are too fast
        """,
      parameters: [
        "kind": "affine", "latency": "8290ns", "bandwidth": "2400MB/s", "servers": 6, "flush": "1us",
      ])
  ]
}
