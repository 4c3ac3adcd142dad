// Hard disks by name.

extension Preset {
  /// Drives to use, then drives to compare with a simulator.
  static let hdd: [Preset] = [
    Preset(
      name: "hdd-10k-300g",
      summary: "Maxtor Atlas 10K V, 300 GB, 10,001 rpm, SCSI, write-through",
      source: """
        parameters of the Western Digital fork of DiskSim 4.0 (maxtor300g: seek curve measured, every fourth \
        point kept; head switch, overheads, bus, skew of 0.24 revolutions, runs of 32 cylinders; 16 zones, \
        in each the mean of its kinds of tracks). Assumed: 64 segments of 256 KiB, write settle 0, order by \
        positioning time over 32 requests, age bound
        """,
      parameters: atlas10kV),
    Preset(
      name: "hdd-10k",
      summary: "Seagate Cheetah 9LP, 9.1 GB, 10,045 rpm, SCSI, write-through",
      source: """
        as cheetah9lp; assumed: order by positioning time over 32 requests, exactly reckoned, transfers that \
        overlap, age bound
        """,
      parameters: cheetah9LP.merging([
        "transfer_overlap": true, "estimate": "exact", "scheduler": "sptf", "depth": 32,
        "age_bound": "500ms", "phase": "random",
      ])),
    Preset(
      name: "hdd-15k",
      summary: "Seagate Cheetah 15K.5, 146 GB, 15,000 rpm, SAS, write-through",
      source: """
        zones, skew of 0.1417 revolutions and runs of 65 cylinders from a public transcription of DiskSim's \
        layout; from memory: seek times 0.2, 3.5 and 7 ms, bus 300 MB/s. Assumed: head switch, write settle \
        (data sheet: writes 0.5 ms more), overheads, segments, order, age bound
        """,
      parameters: cheetah15K5),
    Preset(
      name: "hdd-7200",
      summary: "HGST Ultrastar 7K8, 8 TB, 7,200 rpm, SATA, volatile write cache",
      source: """
        the fit of ublk-disksim (hgst-7k8): seek 0.6 and 8.0 ms by a root, 205 MB/s flat (here with skews), \
        overhead 30 us, bus 600 MB/s, 64 MiB of write cache (assumed there), NCQ 32, age bound 500 ms. \
        Assumed: 10 surfaces, head switch, runs of 128 cylinders, segments
        """,
      parameters: [
        "kind": "hdd", "rpm": 7200, "surfaces": 10, "run_cylinders": 128, "capacity": 8_001_563_222_016,
        "zone": [["cylinders": 436_000, "sectors_per_track": 3585]],
        "seek": "root", "seek_minimum": "600us", "seek_average": "8ms", "head_switch": "600us",
        "read_overhead": "30us", "bus": "600MB/s", "scheduler": "sptf", "depth": 32, "age_bound": "500ms",
        "segments": 16, "segment_size": "2MiB", "read_ahead": "1MiB", "write_cache": "64MiB",
      ]),
    Preset(
      name: "hdd-7200-consumer",
      summary: "Seagate BarraCuda ST2000DM006, 2 TB, 7,200 rpm, SATA, volatile write cache",
      source: """
        the fit of ublk-disksim to a real drive (barracuda-2t): seek 1.0 and 13.0 ms by a root, 150 MB/s \
        flat (here with skews), overhead 30 us, bus 600 MB/s, 1 MiB of write cache, which writes back \
        among its 8 oldest extents, order over 4 requests, age bound 500 ms. Assumed: 4 surfaces, head \
        switch, runs of 128 cylinders, segments
        """,
      parameters: [
        "kind": "hdd", "rpm": 7200, "surfaces": 4, "run_cylinders": 128, "capacity": 2_000_398_934_016,
        "zone": [["cylinders": 356_000, "sectors_per_track": 2745]],
        "seek": "root", "seek_minimum": "1ms", "seek_average": "13ms", "head_switch": "1ms",
        "read_overhead": "30us", "bus": "600MB/s", "scheduler": "sptf", "depth": 4, "age_bound": "500ms",
        "segments": 16, "segment_size": "1MiB", "read_ahead": "512KiB",
        "write_cache": "1MiB", "write_back_window": 8,
      ]),
    Preset(
      name: "cheetah9lp", summary: "Seagate Cheetah 9LP ST39102LW as DiskSim has it, to compare with it",
      source: """
        DiskSim 4.0, cheetah9LP: an arm that waits for the transfer, positioning times as it reckons them, \
        zones, skews, overheads, bus, segments; every second point of its seek curve. Left out: spare \
        sectors and slips within zones
        """,
      parameters: cheetah9LP),
    Preset(
      name: "atlas10k", summary: "Quantum Atlas 10K (TORNADO) as DiskSim has it, to compare with it",
      source: """
        DiskSim 4.0, atlas10k: arm and reckoning as with cheetah9lp, zones, skews, overheads, bus, segments; \
        half of the points of its seek curve, outliers at 1,400 and 4,700 cylinders included. Bands of equal \
        tracks are one zone here, with the larger skew. Left out: spare sectors and slips
        """,
      parameters: atlas10k),
    Preset(
      name: "barracuda", summary: "Seagate Barracuda ST32171W as DiskSim has it, to compare with it",
      source: """
        DiskSim 4.0, barracuda: arm and reckoning as with cheetah9lp, zones, skews, overheads, bus, \
        segments; half of the points of its seek curve. Left out: spare sectors and slips
        """,
      parameters: barracuda),
  ]

  private static func zone(
    _ cylinders: Int64, _ sectorsPerTrack: Int64, skews track: Int64, _ cylinder: Int64, spare: Int64 = 0
  ) -> ParameterValue {
    var table: ParameterTable = [
      "cylinders": .integer(cylinders), "sectors_per_track": .integer(sectorsPerTrack),
      "track_skew": .integer(track), "cylinder_skew": .integer(cylinder),
    ]
    if spare > 0 { table["spare_cylinders"] = .integer(spare) }
    return .table(table)
  }

  /// A measured curve: cylinders and microseconds.
  private static func curve(_ points: [(Int64, Int64)]) -> ParameterTable {
    [
      "seek": "table", "seek_distances": .array(points.map { .integer($0.0) }),
      "seek_times": .array(points.map { .string("\($0.1)us") }),
    ]
  }

  private static let atlas10kV: ParameterTable = {
    // Where the layout has another length of tracks from, and that of all surfaces on average.
    let tracks: [(cylinders: Int64, sectors: Int64)] = [
      (5249, 1136), (4984, 1106), (5112, 1078), (5112, 1047), (5104, 1020), (5112, 1000), (5112, 962),
      (5112, 937), (5112, 903), (5112, 881), (5112, 844), (5112, 805), (5104, 764), (5112, 716), (5112, 668),
      (3839, 614),
    ]
    let zones = tracks.map { (cylinders, sectors) in
      zone(cylinders, sectors, skews: (sectors * 2402 + 9999) / 10_000, (sectors * 2402 + 9999) / 10_000)
    }
    let drive: ParameterTable = [
      "kind": "hdd", "rpm": 10_001, "surfaces": 8, "run_cylinders": 32, "capacity": 299_999_999_488,
      "zone": .array(zones),
    ]
    let rest: ParameterTable = [
      "head_switch": "116us", "write_settle": "0", "read_overhead": "0", "hit_overhead": "102us",
      "bus": "102400000B/s", "scheduler": "sptf", "depth": 32, "age_bound": "500ms", "segments": 64,
      "segment_size": "256KiB", "read_ahead": "256KiB",
    ]
    let points: [(Int64, Int64)] = [
      (1, 526), (2, 656), (3, 673), (4, 694), (6, 752), (8, 784), (10, 816), (13, 833), (16, 857),
      (21, 867), (22, 1053), (28, 1108), (36, 1163), (48, 1195), (64, 1226), (80, 1291), (100, 1327),
      (130, 1405), (200, 1392), (260, 1446), (340, 1494), (350, 1645), (400, 1678), (500, 1714), (600, 1788),
      (700, 1792), (850, 1863), (1000, 1932), (1300, 1917), (1600, 2006), (2000, 2065), (2500, 2235),
      (3000, 2248), (3500, 2456), (4000, 2414), (4500, 2564), (5000, 2722), (6000, 2953), (7000, 2983),
      (8000, 3097), (9000, 3279), (10_000, 3415), (12_000, 3703), (14_000, 3938), (16_000, 4108),
      (18_000, 4248), (20_000, 4451), (22_000, 4606), (24_000, 4822), (26_000, 4974), (28_000, 5203),
      (30_000, 5439), (32_000, 5602), (34_000, 5814), (36_000, 5913), (38_000, 5979), (40_000, 6107),
      (42_000, 6179), (44_000, 6313), (46_000, 6419), (48_000, 6551), (50_000, 6681), (52_000, 6812),
      (54_000, 6931), (56_000, 7127), (58_000, 7194), (60_000, 7424), (62_000, 7519), (64_000, 7778),
      (66_000, 8174), (68_000, 8355), (70_000, 8314), (72_000, 8490), (74_000, 8761), (76_000, 8902),
      (78_000, 9010), (80_000, 9570),
    ]
    return drive.merging(curve(points)).merging(rest)
  }()

  private static let cheetah15K5: ParameterTable = {
    let tracks: [(Int64, Int64)] = [
      (7801, 1200), (6400, 1160), (6000, 1120), (5700, 1104), (5400, 1080), (5100, 1020), (4900, 994),
      (4700, 960), (4500, 920), (4400, 880), (4200, 840), (4100, 816), (4000, 780), (4970, 720),
    ]
    let zones = tracks.map { zone($0.0, $0.1, skews: ($0.1 * 17 + 119) / 120, ($0.1 * 17 + 119) / 120) }
    let drive: ParameterTable = [
      "kind": "hdd", "rpm": 15_000, "surfaces": 4, "run_cylinders": 65, "zone": .array(zones),
    ]
    return drive.merging([
      "seek": "lee", "seek_minimum": "200us", "seek_average": "3500us", "seek_full": "7ms",
      "head_switch": "200us", "write_settle": "350us", "read_overhead": "100us", "hit_overhead": "50us",
      "bus": "300MB/s", "scheduler": "sptf", "depth": 32, "age_bound": "500ms", "segments": 32,
      "segment_size": "512KiB", "read_ahead": "256KiB",
    ])
  }()

  private static let cheetah9LP: ParameterTable = {
    let zones: [ParameterValue] = [
      zone(847, 254, skews: 97, 133, spare: 1), zone(796, 245, skews: 97, 133, spare: 1),
      zone(748, 238, skews: 97, 117, spare: 1), zone(703, 227, skews: 97, 116, spare: 1),
      zone(660, 217, skews: 97, 108, spare: 1), zone(621, 209, skews: 97, 108, spare: 1),
      zone(584, 201, skews: 97, 108, spare: 1), zone(550, 189, skews: 88, 94), zone(516, 181, skews: 88, 93),
      zone(486, 174, skews: 88, 93), zone(444, 167, skews: 88, 80),
    ]
    let drive: ParameterTable = [
      "kind": "hdd", "rpm": 10_045, "surfaces": 12, "capacity": 9_105_018_880, "zone": .array(zones),
    ]
    let rest: ParameterTable = [
      "head_switch": "30us", "write_settle": "461us", "read_overhead": "283620ns",
      "write_overhead": "896400ns", "hit_overhead": "66us", "bus": "4876190B/s",
      "transfer_overlap": false, "estimate": "disksim", "scheduler": "fcfs", "depth": 32, "segments": 3,
      "segment_size": 287_232, "read_ahead": 287_232, "phase": "zero",
    ]
    let points: [(Int64, Int64)] = [
      (1, 831), (2, 1003), (3, 1089), (5, 1268), (8, 1439), (10, 1448), (16, 1453), (25, 1625), (40, 1715),
      (50, 1804), (70, 1945), (100, 2145), (150, 2259), (200, 2517), (250, 2607), (300, 2699), (400, 3051),
      (500, 3230), (600, 3399), (800, 3823), (1000, 4118), (1200, 4397), (1400, 4573), (1600, 4833),
      (1800, 4993), (2000, 5282), (2200, 5541), (2400, 5726), (2600, 5963), (2800, 6163), (3000, 6345),
      (3200, 6665), (3400, 6847), (3600, 6977), (3800, 7164), (4000, 7419), (4200, 7649), (4400, 7831),
      (4600, 8087), (4800, 8223), (5000, 8492), (5200, 8659), (5400, 8987), (5600, 9106), (5800, 9296),
      (6000, 9698), (6200, 9830), (6400, 10_009), (6600, 10_230), (6800, 10_540), (6894, 10_627),
    ]
    return drive.merging(curve(points)).merging(rest)
  }()

  private static let atlas10k: ParameterTable = {
    let zones: [ParameterValue] = [
      zone(1265, 334, skews: 63, 113), zone(1256, 324, skews: 63, 101), zone(416, 324, skews: 62, 101),
      zone(1672, 324, skews: 61, 98), zone(840, 306, skews: 58, 98), zone(416, 302, skews: 57, 92),
      zone(416, 293, skews: 56, 91),
      zone(840, 288, skews: 55, 91), zone(416, 280, skews: 54, 88), zone(416, 270, skews: 51, 87),
      zone(424, 262, skews: 51, 83), zone(416, 255, skews: 48, 83), zone(416, 246, skews: 47, 75),
      zone(416, 237, skews: 45, 75), zone(417, 229, skews: 44, 75),
    ]
    let drive: ParameterTable = [
      "kind": "hdd", "rpm": 10_025, "surfaces": 6, "capacity": 9_184_760_832, "zone": .array(zones),
    ]
    let rest: ParameterTable = [
      "head_switch": "176us", "write_settle": "487us", "read_overhead": "0", "write_overhead": "496730ns",
      "hit_overhead": "184us", "bus": "5171717B/s", "transfer_overlap": false, "estimate": "disksim",
      "scheduler": "fcfs", "depth": 32, "segments": 10, "segment_size": 191_488, "read_ahead": 181_248,
      "phase": "zero",
    ]
    let points: [(Int64, Int64)] = [
      (1, 1245), (2, 1157), (3, 1163), (4, 1378), (6, 1437), (8, 1645), (9, 1506), (10, 1531), (16, 1547),
      (20, 1620), (30, 1698), (40, 1929), (50, 1863), (60, 2313), (70, 1927), (80, 2420), (90, 1970),
      (100, 2011), (150, 2531), (200, 2651), (250, 2858), (300, 2930), (400, 3146), (500, 3208), (600, 3097),
      (800, 3321), (1000, 3820), (1200, 3825), (1300, 3920), (1400, 5225), (1500, 4198), (1600, 4513),
      (1800, 4426), (2000, 4842), (2200, 5013), (2400, 4891), (2600, 5395), (2800, 5218), (3000, 5643),
      (3200, 5465), (3400, 5664), (3600, 5809), (3800, 6059), (4000, 6226), (4200, 6415), (4400, 6357),
      (4600, 6486), (4700, 9463), (4800, 6714), (5000, 6814), (5200, 7306), (5400, 7103), (5600, 7221),
      (5800, 7377), (6000, 7525), (6200, 7706), (6400, 7806), (6600, 7992), (6800, 8078), (7000, 8205),
      (7200, 8686), (7400, 8539), (7600, 8999), (7800, 9192), (8000, 8951), (8200, 9117), (8400, 9213),
      (8600, 9433), (8800, 9494), (9000, 10_114), (9200, 9807), (9400, 10_234), (9600, 10_160),
      (9800, 10_694), (10_000, 10_464), (10_021, 10_828),
    ]
    return drive.merging(curve(points)).merging(rest)
  }()

  private static let barracuda: ParameterTable = {
    let zones: [ParameterValue] = [
      zone(1128, 186, skews: 37, 52, spare: 1), zone(1224, 185, skews: 37, 52, spare: 1),
      zone(408, 177, skews: 35, 49, spare: 1), zone(336, 170, skews: 34, 47, spare: 1),
      zone(288, 163, skews: 32, 46, spare: 1), zone(312, 157, skews: 31, 44, spare: 1),
      zone(312, 148, skews: 29, 41, spare: 1), zone(312, 141, skews: 28, 39, spare: 1),
      zone(288, 135, skews: 27, 38, spare: 1), zone(312, 126, skews: 25, 35, spare: 1),
      zone(242, 119, skews: 23, 33),
    ]
    let drive: ParameterTable = [
      "kind": "hdd", "rpm": 7200, "surfaces": 5, "capacity": 2_104_320_000, "zone": .array(zones),
    ]
    let rest: ParameterTable = [
      "head_switch": "100us", "write_settle": "0", "read_overhead": "613070ns", "write_overhead": "815600ns",
      "hit_overhead": "82us", "bus": "3820895B/s", "transfer_overlap": false, "estimate": "disksim",
      "scheduler": "fcfs", "depth": 32, "segments": 3, "segment_size": 143_872, "read_ahead": 143_872,
      "phase": "zero",
    ]
    let points: [(Int64, Int64)] = [
      (1, 1943), (2, 1956), (3, 1933), (5, 2176), (8, 2326), (10, 2351), (14, 2549), (16, 2534), (20, 2548),
      (25, 2556), (30, 3549), (40, 3743), (50, 3768), (70, 4141), (100, 4158), (125, 4514), (150, 4729),
      (200, 5307), (250, 5485), (300, 5523), (400, 5711), (500, 6137), (600, 6333), (800, 7322), (1000, 8114),
      (1200, 8702), (1400, 8858), (1600, 9461), (1800, 9888), (2000, 10_092), (2200, 10_851), (2400, 11_270),
      (2600, 11_658), (2800, 12_053), (3000, 12_471), (3200, 12_845), (3400, 13_268), (3600, 13_625),
      (3800, 14_215), (4000, 14_615), (4200, 15_002), (4400, 15_405), (4600, 15_831), (4800, 16_193),
      (4986, 16_679),
    ]
    return drive.merging(curve(points)).merging(rest)
  }()
}
