// Flash drives, and where their numbers are from.

extension Preset {
  static let ssd: [Preset] = [
    Preset(
      name: "ssd-nvme-mlc",
      summary:
        "NVMe drive with MLC flash (Samsung 970 PRO class): 63 us, 15,800 to 370,000 4k reads a second",
      source: """
        NVMeVirt's SAMSUNG_970PRO (ssd_config.h), which its authors fitted to the drive; bandwidths as its \
        truncated nanoseconds for 128 bytes have them (152 and 36). Assumed: erase 0 as there, discard and \
        write zeroes, a flush that waits for what was written before it alone (there: for all dies)
        """,
      parameters: [
        "kind": "ssd", "channels": 8, "dies_per_channel": 2, "flash_page": "32KiB", "partitions": 4,
        "read": ["30013ns", "42013ns"], "read_4k": ["29760ns", "41760ns"], "program": "185us", "erase": 0,
        "channel_bandwidth": "842105264B/s", "channel_chunk": "16KiB", "link_bandwidth": "3555555556B/s",
        "firmware_read": "30490ns", "firmware_small_read": "21500ns", "small_read": "16KiB",
        "firmware_write": "4us", "firmware_write_page": "460ns", "write_buffer": "1MiB",
        "power_loss_protection": false, "discard": "5us", "discard_bandwidth": "4TiB/s",
        "over_provisioning": "7%", "lines": 8192, "capacity": "512GB",
      ]),
    Preset(
      name: "ssd-nvme-datacenter",
      summary:
        "NVMe drive with power-loss protection (Samsung PM9A3 1.92 TB class): 80 us, 130,000 writes a second",
      source: """
        ublk-disksim's nvme-plp, a fit to the data sheet: 64 dies, 16 KiB pages, tR, tPROG, channel, link, \
        firmware, buffer; reads go before programs that have not begun, as there. Spare flash fitted to the \
        data sheet's steady 4k random writes. Assumed: 8 channels, erase 3 ms (FEMU's TLC) for 16 MiB, a flush \
        as long as a write's firmware
        """,
      parameters: [
        "kind": "ssd", "channels": 8, "dies_per_channel": 8, "flash_page": "16KiB", "read": "62us",
        "program": "400us", "erase": "3ms", "block": "16MiB", "channel_bandwidth": "1200MB/s",
        "scheduler": "read_first", "link_bandwidth": "6900MB/s", "firmware_read": "14us",
        "firmware_write": "14us", "write_buffer": "64MiB", "power_loss_protection": true,
        "discard_bandwidth": "4TiB/s", "over_provisioning": "13%", "capacity": "1920GB",
      ]),
    Preset(
      name: "ssd-nvme-tlc",
      summary:
        "NVMe drive with TLC pages of three speeds (Micron 7300 PRO 3.84 TB class): 77 us, suspends programs",
      source: """
        ublk-disksim's micron-7300, measured on a drive: tR of lower, middle and upper pages, 64 KiB programs \
        of 2.6 ms, suspension within 20 us, link, firmware, buffer. Spare flash fitted to the data sheet's \
        75,000 steady 4k random writes. Assumed: 8 channels, four planes, erase 3 ms (FEMU's TLC) for 24 MiB, \
        erases suspended as programs are, a flush as long as a write's firmware
        """,
      parameters: [
        "kind": "ssd", "channels": 8, "dies_per_channel": 8, "planes": 4, "flash_page": "16KiB",
        "read": ["25us", "51us", "103us"], "program": "2624us", "erase": "3ms", "block": "24MiB",
        "channel_bandwidth": "800MB/s", "scheduler": "read_first", "program_suspend": "20us",
        "erase_suspend": "20us", "link_bandwidth": "3000MB/s", "link_command": "560ns",
        "firmware_read": "23600ns", "firmware_write": "23600ns", "write_buffer": "64MiB",
        "power_loss_protection": true, "discard_bandwidth": "4TiB/s", "over_provisioning": "13%",
        "capacity": "3840GB",
      ]),
    Preset(
      name: "ssd-sata-consumer",
      summary:
        "SATA drive without power-loss protection (Samsung 870 EVO 1 TB class): 77 us, a flush of 3.6 ms",
      source: """
        ublk-disksim's sata-consumer, a fit to the data sheet and to published rates of synchronous writes: 16 \
        dies, 16 KiB pages, tR, tPROG, channel, link and its 3 us a command, firmware, buffer, flush. Spare \
        flash fitted to its estimate of 12,000 steady 4k random writes. Not there: the SLC cache. Assumed: 8 \
        channels, erase 3 ms (FEMU's TLC) for 16 MiB, discards
        """,
      parameters: [
        "kind": "ssd", "queue_depth": 32, "channels": 8, "dies_per_channel": 2, "flash_page": "16KiB",
        "read": "46us", "program": "390us", "erase": "3ms", "block": "16MiB",
        "channel_bandwidth": "1200MB/s", "scheduler": "read_first", "link_bandwidth": "560MB/s",
        "link_command": "3us", "firmware_read": "17500ns", "firmware_write": "17500ns",
        "write_buffer": "32MiB", "power_loss_protection": false, "flush": "3200us", "flush_queued": false,
        "discard": "100us", "discard_bandwidth": "1TiB/s", "over_provisioning": "7%", "capacity": "1TB",
      ]),
    Preset(
      name: "ssd-sata-datacenter",
      summary: "SATA drive with power-loss protection (Samsung PM883 960 GB class): 120 us, a flush of 15 us",
      source: """
        ublk-disksim's sata-plp, a fit to the data sheet and to published rates of synchronous writes: 32 dies, \
        16 KiB pages, tR, tPROG, channel, link and its 3 us a command, firmware, buffer, flush. Spare flash \
        fitted to the data sheet's 25,000 steady 4k random writes. Assumed: 8 channels, erase 3 ms (FEMU's \
        TLC) for 16 MiB, discards
        """,
      parameters: [
        "kind": "ssd", "queue_depth": 32, "channels": 8, "dies_per_channel": 4, "flash_page": "16KiB",
        "read": "75us", "program": "700us", "erase": "3ms", "block": "16MiB",
        "channel_bandwidth": "800MB/s", "scheduler": "read_first", "link_bandwidth": "560MB/s",
        "link_command": "3us", "firmware_read": "29us", "firmware_write": "29us", "write_buffer": "32MiB",
        "power_loss_protection": true, "flush": "15us", "flush_queued": false, "discard": "100us",
        "discard_bandwidth": "1TiB/s", "over_provisioning": "9%", "capacity": "960GB",
      ]),
  ]
}
