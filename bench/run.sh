#!/bin/bash
# Prints the figures of RESULTS.md: bench/run.sh [time-travel|start|idle|image|block|model|faults]; all of them without an argument.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/ttblk-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

set_up() {
  "$top/images/setup.sh" --build python3 \
    uml-utilities qemu-utils qemu-system-common fio libnbd-bin gnuplot-nox valgrind
  TTBLK_GUEST=$("$top/images/guest/build.sh")
  export TTBLK_GUEST
  swift build --package-path "$top" -c release --product ttblk --static-swift-stdlib >"$work/build.log" 2>&1 ||
    { cat "$work/build.log" >&2; exit 1; }
  ttblk=$(swift build --package-path "$top" -c release --static-swift-stdlib --show-bin-path)/ttblk
}

machine() {
  echo "$(nproc) x $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r), $(date -u +%F), load $(cut -d' ' -f1 /proc/loadavg)"
}

time_travel() { "$ttblk" bench time-travel --rounds 7; }

# From exec to the line that says that the sockets listen, milliseconds: median and extremes of 21 starts.
start() {
  local image=$work/start.img
  truncate -s 64M "$image"
  python3 - "$ttblk" "$image" "$work" <<'PY'
import statistics, subprocess, sys, time
ttblk, image, work = sys.argv[1:]
times = []
for _ in range(21):
    begin = time.monotonic()
    server = subprocess.Popen([ttblk, "serve", "--disk", f"name=d,image={image},socket={work}/start.sock,format=raw"],
                              stdout=subprocess.PIPE)
    server.stdout.readline()
    times.append((time.monotonic() - begin) * 1000)
    server.terminate()
    server.wait()
print(f"start to listening: median {statistics.median(times):.1f} ms, min {min(times):.1f}, max {max(times):.1f}")
PY
}

# Resident memory of 200 idle COW disks more than of one, per disk.
idle() {
  local base=$work/idle.img count
  truncate -s 1G "$base"
  for ((i = 0; i < 201; i++)); do "$ttblk" image create "$work/idle$i.cow" --backing "$base"; done
  for count in 1 201; do
    for ((i = 0; i < count; i++)); do
      printf '[[disk]]\nname = "d%d"\nimage = "%s/idle%d.cow"\nsocket = "%s/idle%d.sock"\n' "$i" "$work" "$i" "$work" "$i"
    done >"$work/idle.toml"
    coproc SERVER { exec "$ttblk" serve --config "$work/idle.toml"; }
    read -r _ <&"${SERVER[0]}"
    awk '/^VmRSS/ { print $2 }' "/proc/$SERVER_PID/status" >"$work/rss$count"
    kill "$SERVER_PID"
    wait "$SERVER_PID" || true
  done
  awk -v one="$(<"$work/rss1")" -v many="$(<"$work/rss201")" \
    'BEGIN { printf "idle: one disk %d KiB resident, 201 disks %d KiB, %.1f KiB for each more\n", one, many, (many - one) / 200 }'
}

# ttblk image beside uml_moo, cp and qemu-img, on a disk's file system and on tmpfs: 4 GiB each time, half an hour.
image() { python3 "$top/bench/image.py" --folder /var/tmp --folder /dev/shm "$ttblk"; }

# ttblk serve beside qemu-storage-daemon: same files, same front-end; a quarter of an hour.
block() { python3 "$top/bench/block.py" --out "$top/bench/out" "$ttblk"; }

# What each preset costs the host, the median of five runs, and what it says at depths 1 and 32.
model() {
  "$ttblk" model list --json >"$work/presets.json"
  python3 - "$ttblk" "$work/presets.json" <<'PY'
import json, statistics, subprocess, sys
ttblk, presets = sys.argv[1:]
print(f"{'preset':24} {'pattern':10} {'depth':>5} {'host ns/request':>16} {'IOPS':>10} {'mean us':>10} {'p99 us':>10}")
for preset in json.load(open(presets)):
    for pattern in ("randread", "randwrite"):
        for depth in (1, 32):
            runs = [json.loads(subprocess.run(
                [ttblk, "model", "run", preset["name"], "--workload", f"{pattern},4k,depth={depth},count=100000", "--json"],
                check=True, capture_output=True).stdout) for _ in range(5)]
            run = runs[0]
            assert all(other["digest"] == run["digest"] for other in runs)
            print(f"{preset['name']:24} {pattern:10} {depth:5} {statistics.median(r['hostNanosecondsPerRequest'] for r in runs):16}"
                  f" {run['requestsPerSecond']:10.0f} {run['meanNanoseconds'] / 1000:10.1f} {run['p99Nanoseconds'] / 1000:10.1f}")
PY
}

# Instructions of the server in user mode for a request, by valgrind: the slope between 1,000 and 3,000 requests.
faults() {
  local operation count file
  strip -o "$work/ttblk" "$ttblk" # valgrind does not read all of its debug information
  : >"$work/none.toml"
  printf '[[fault]]\nkind = "io-error"\nafter = 1000000000\n' >"$work/never.toml"
  for operation in read write; do
    for file in none never; do
      for count in 1000 3000; do count_instructions "$operation" "$count" "$work/$file.toml"; done |
        awk -v row="$operation, faults: $file" \
          'NR == 1 { first = $1 } END { printf "%s: %d instructions a request\n", row, ($1 - first) / 2000 }'
    done
  done
}

# count_instructions OPERATION REQUESTS FAULTS: of a server of a UML guest that does so many requests.
count_instructions() {
  local folder server
  folder=$(mktemp -d "$work/faults-XXXXXX")
  truncate -s 64M "$folder/image"
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$work/ttblk" serve --time-travel inf-cpu --disk \
    "name=d,image=$folder/image,format=raw,socket=$folder/s$([[ ! -s $3 ]] || echo ",faults=$3")" >"$folder/log" 2>&1 &
  server=$!
  until grep -qs ready "$folder/log"; do
    kill -0 "$server" || { cat "$folder/log" >&2; return 1; }
    sleep 0.1
  done
  setarch -R "$TTBLK_GUEST/linux" mem=64M initrd="$TTBLK_GUEST/initramfs.cpio.gz" root=/dev/ram0 rdinit=/init con=null \
    con0=null,fd:1 ssl=null ubd0r=/dev/null umid=faults uml_dir="$folder/" quiet time-travel=inf-cpu \
    virtio_uml.device="$folder/s:2" ttblk.run="io:/dev/vda,--requests,$2,--op,$1" </dev/null >"$folder/console"
  kill "$server"
  wait "$server" || true
  sed -n 's/.*Collected : //p' "$folder/log"
}

set_up
machine
for figure in "${@:-time_travel start idle image block model faults}"; do
  for name in ${figure//-/_}; do "$name"; done
done
