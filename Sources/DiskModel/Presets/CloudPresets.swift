// Volumes of a cloud.

extension Preset {
  static let cloud: [Preset] = [
    Preset(
      name: "gp2",
      summary: "AWS EBS gp2: 3 requests a second for each GiB, bursts of 3,000 on credit",
      source: """
        AWS documents: 3 per GiB from 100 to 16,000, credit of 5.4 million, 128 to 250 MiB/s. Assumed: the \
        latencies, the larger throughput above 170 GiB without credit, full credit at first. size=… is the \
        volume's size where the image is smaller
        """,
      parameters: [
        "kind": "cloud", "iops_per_gib": 3, "iops_min": 100, "iops_max": 16_000, "burst_iops": 3000,
        "burst_credit": 5_400_000, "throughput": "250MiB/s", "small_size": "170GiB",
        "small_throughput": "128MiB/s", "io_unit": "256KiB", "slack": "1ms",
        "read": ["p50": "700us", "p99": "2ms"], "write": ["p50": "900us", "p99": "3ms"], "flush": "100us",
        "discard": "100us",
      ]),
    Preset(
      name: "gp3",
      summary: "AWS EBS gp3: 3,000 requests a second and 125 MiB/s, or what iops= and throughput= say",
      source: """
        AWS documents: 3,000 to 16,000 requests a second (500 per GiB), 125 to 1,000 MiB/s (0.25 for each \
        request a second). Assumed: the latencies
        """,
      parameters: gp3),
    Preset(
      name: "gp3-noisy",
      summary: "gp3 that gives 90 % of its rates in 1 % of the seconds",
      source: """
        as gp3; AWS promises 90 % of the rates 99 % of the time: here exactly that, second by second
        """,
      parameters: gp3.merging(["slow_seconds_per_1000": 10, "slow_rate_percent": 90])),
    Preset(
      name: "io2",
      summary: "AWS EBS io2 Block Express with 16,000 requests a second, or what iops= says",
      source: """
        AWS documents: up to 256,000 requests a second, less than 500 us on average at 16 KiB. Recall: 1,000 \
        per GiB, 4,000 MiB/s. Assumed: the latencies
        """,
      parameters: [
        "kind": "cloud", "iops": 16_000, "throughput": "4000MiB/s", "limit_iops": 256_000,
        "limit_iops_per_gib": 1000, "limit_throughput": "4000MiB/s", "io_unit": "256KiB", "slack": "1ms",
        "read": ["p50": "300us", "p99": "700us"], "write": ["p50": "300us", "p99": "700us"],
        "flush": "100us", "discard": "100us",
      ]),
  ]

  private static let gp3: ParameterTable = [
    "kind": "cloud", "iops": 3000, "throughput": "125MiB/s", "limit_iops": 16_000, "free_iops": 3000,
    "limit_iops_per_gib": 500, "limit_throughput": "1000MiB/s", "limit_bytes_per_request": "256KiB",
    "io_unit": "256KiB", "slack": "1ms", "read": ["p50": "600us", "p99": "1500us"],
    "write": ["p50": "800us", "p99": "2ms"], "flush": "100us", "discard": "100us",
  ]
}
