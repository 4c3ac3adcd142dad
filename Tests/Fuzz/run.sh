#!/bin/sh
# Runs every fuzz target for some seconds each (default 20); exits nonzero as soon as one crashes.
# What was found interesting stays in .build-fuzz/corpus, a crashing input in .build-fuzz/crashes.
set -eu
cd "$(dirname "$0")"
seconds=${1:-20}
# Swift's own crash handler would end the process before libFuzzer has saved the input.
export SWIFT_BACKTRACE=enable=no
swift build -c release --sanitize=fuzzer --scratch-path .build-fuzz
# Small files of every kind to begin with, as QEMU writes them.
seed_qcow2() {
  command -v qemu-img >/dev/null || return 0
  folder=.build-fuzz/corpus/fuzz-qcow2
  mkdir -p "$folder"
  make() { qemu-img create -q -f qcow2 -o "cluster_size=512$3" "$folder/$1" "$2"; }
  io() { qemu-io -f qcow2 "$@" >/dev/null; }
  make empty 64k ''
  make old 8k ,compat=0.10 && io -c 'write 0 2k' "$folder/old"
  make some 16k '' && io -c 'write -P 3 1k 3k' -c 'write -z 6k 1k' -c 'write -c 8k 512' "$folder/some"
  make zstd 16k ,compression_type=zstd && io -c 'write -c 8k 512' "$folder/zstd"
  make narrow 16k ,refcount_bits=1 && io -c 'write 0 1k' "$folder/narrow"
  make wide 16k ,refcount_bits=64 && io -c 'write 0 1k' "$folder/wide"
  make snapshot 8k '' && io -c 'write 0 1k' "$folder/snapshot"
  qemu-img snapshot -c s "$folder/snapshot" && io -c 'write 512 1k' "$folder/snapshot"
  make bitmap 8k '' && qemu-img bitmap --add "$folder/bitmap" b
}
seed_qcow2
# A whole handshake and some requests; a fuzzer does not guess magic numbers of eight bytes.
seed_nbd() {
  folder=.build-fuzz/corpus/fuzz-nbd
  mkdir -p "$folder"
  option() { printf 'IHAVEOPT\000\000\000%b\000\000\000%b' "$1" "$2"; }
  request() {
    printf '\045\140\225\023\000\000\000%b12345678' "$1"
    head -c 8 /dev/zero
    printf '\000\000\002\000'
  }
  {
    printf '\377\000\000\000\003'
    option '\003' '\000'
    option '\010' '\000'
    option '\012' '\033'
    printf '\000\000\000\000\000\000\000\001\000\000\000\017base:allocation'
    option '\007' '\013'
    printf '\000\000\000\001a\000\002\000\001\000\003'
    request '\000'
    request '\007'
    request '\001'
    request '\002'
  } >"$folder/whole"
}
seed_nbd
for target in ${FUZZ_TARGETS:-fuzz-messages fuzz-chains fuzz-qcow2 fuzz-cow fuzz-nbd}; do
  mkdir -p .build-fuzz/corpus/$target .build-fuzz/crashes
  echo "$target for $seconds s"
  length=2048
  case $target in fuzz-qcow2 | fuzz-cow) length=16384 ;; esac
  .build-fuzz/release/$target -max_total_time="$seconds" -max_len=$length -timeout=10 -rss_limit_mb=2048 \
    -verbosity=0 -print_final_stats=1 -artifact_prefix=.build-fuzz/crashes/$target- .build-fuzz/corpus/$target
done
