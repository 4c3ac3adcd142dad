#!/bin/bash
# The main job, on the real thing: UML nodes on copy-on-write disks under time travel, and what it showed.
# Needs Debian 12 and Swift; everything else it sets up itself (as root).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$here")
work=$(mktemp -d "${TMPDIR:-/tmp}/ttblk-demo-XXXXXX")
trap 'rm -rf "$work"' EXIT

title() { printf '\n== %s\n\n' "$*"; }
# A member of a run's report.json: the first one of that name.
member() { sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" "$work/$1/report.json" | head -n 1; }
contents() { sed -n 's/^ *"contents": "\(.*\)".*/\1/p' "$work/$1/report.json" | tr '\n' ' '; }
run() {
  local output=$1 scenario=$2
  shift 2
  "$ttblk" run "$scenario" --output "$work/$output" "$@"
}

set_up() {
  command -v swift >/dev/null || { echo "demo: no swift on the PATH: install it from swift.org" >&2; exit 1; }
  "$here/setup.sh" --build strace
  TTBLK_GUEST=$("$here/guest/build.sh" --debian)
  export TTBLK_GUEST
  echo "demo: building ttblk" >&2
  # With the runtime inside: it starts faster, and calls into it cost less.
  swift build --package-path "$top" -c release --product ttblk --static-swift-stdlib >"$work/build.log" 2>&1 ||
    { cat "$work/build.log" >&2; exit 1; }
  ttblk=$(swift build --package-path "$top" -c release --static-swift-stdlib --show-bin-path)/ttblk
}

nodes() {
  title "Three Debian nodes on overlays of one image; every request costs 100 us and 2 ns a byte of simulated time"
  run first "$here/scenarios/debian-nodes.toml" | sed '$d'
  echo
  for node in db0 db1 db2; do echo "$node says: $(grep '^sqlite' "$work/first/$node.console")"; done
  echo
  echo "Again, in other ways. Digest of all completions, and the hashes of what the three disks hold:"
  compare first "embedded, shared memory"
  run second "$here/scenarios/debian-nodes.toml" --transport message >/dev/null
  compare second "embedded, message mode"
  run third "$here/scenarios/debian-nodes.toml" --separate >/dev/null
  compare third "separate processes"
  run other "$here/scenarios/debian-nodes.toml" --seed 8 >/dev/null
  compare other "another seed"
}

compare() { printf '  %-24s %s  %s\n' "$2" "$(member "$1" digest)" "$(contents "$1")"; }

messages() {
  title "What shared memory saves: 2,000 direct reads of 4 KiB, one at a time, 50 us each"
  "$ttblk" bench time-travel --rounds 3
}

today() {
  title "What users have today: UML's own ubd under the same time travel, 20 such reads, three times"
  truncate -s 64M "$work/disk.img"
  cat >"$work/ubd.toml" <<TOML
[[node]]
name = "ubd"
run = "io:/dev/ubda,--requests,20"
arguments = "ubd0=$work/disk.img"
TOML
  sed 's/2000/20/' "$here/scenarios/reads.toml" >"$work/reads.toml"
  for _ in 1 2 3; do
    # Not kept on one processor: that is for ttblk's guests; ubd's depends on it, as on everything the host does.
    run ubd "$work/ubd.toml" --cpu any >/dev/null
    run reads "$work/reads.toml" >/dev/null
    echo "  ubd:   $(guest_time ubd ubd) s of guest time        ttblk: $(guest_time reads node) s"
  done
}

guest_time() { sed -n 's/^io .*total_ns=\([0-9]*\).*/\1/p' "$work/$1/$2.console" | awk '{ printf "%.9f", $1 / 1e9 }'; }

flushes() {
  title "A guest's flush reaches the host's disk (ubd drops it): what one write and fsync of the guest become"
  sed 's/io:.*"/fsync:\/dev\/vda,--requests,1"/' "$here/scenarios/reads.toml" >"$work/fsync.toml"
  strace -s 0 -o "$work/strace" -e trace=pwritev,fdatasync "$ttblk" run "$work/fsync.toml" --output "$work/fsync" >/dev/null
  # The data, then the page of the bitmap that says where it is.
  sed -n 's/^pwritev.*, \([0-9]*\)) *= \([0-9]*\)$/  pwritev    \2 bytes at \1/p; s/^fdatasync.*= 0$/  fdatasync/p' "$work/strace"
}

set_up
nodes
messages
today
flushes
