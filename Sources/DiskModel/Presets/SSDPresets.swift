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
      ])
  ]
}
