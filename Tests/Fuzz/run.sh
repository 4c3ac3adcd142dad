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
  mkdir -p $folder
  make="qemu-img create -q -f qcow2 -o cluster_size=512"
  io="qemu-io -f qcow2"
  $make $folder/empty 64k
  $make,compat=0.10 $folder/old 8k && $io -c 'write 0 2k' $folder/old >/dev/null
  $make $folder/some 16k && $io -c 'write -P 3 1k 3k' -c 'write -z 6k 1k' -c 'write -c 8k 512' $folder/some >/dev/null
  $make,compression_type=zstd $folder/zstd 16k && $io -c 'write -c 8k 512' $folder/zstd >/dev/null
  $make,refcount_bits=1 $folder/narrow 16k && $io -c 'write 0 1k' $folder/narrow >/dev/null
  $make,refcount_bits=64 $folder/wide 16k && $io -c 'write 0 1k' $folder/wide >/dev/null
  $make $folder/snapshot 8k && $io -c 'write 0 1k' $folder/snapshot >/dev/null
  qemu-img snapshot -c s $folder/snapshot && $io -c 'write 512 1k' $folder/snapshot >/dev/null
  $make $folder/bitmap 8k && qemu-img bitmap --add $folder/bitmap b
  $make -F raw -b /dev/null $folder/backing 8k 2>/dev/null || true
}
seed_qcow2
for target in ${FUZZ_TARGETS:-fuzz-messages fuzz-chains fuzz-qcow2 fuzz-cow}; do
  mkdir -p .build-fuzz/corpus/$target .build-fuzz/crashes
  echo "$target for $seconds s"
  length=2048
  case $target in fuzz-qcow2 | fuzz-cow) length=16384 ;; esac
  .build-fuzz/release/$target -max_total_time="$seconds" -max_len=$length -timeout=10 -rss_limit_mb=2048 \
    -verbosity=0 -print_final_stats=1 -artifact_prefix=.build-fuzz/crashes/$target- .build-fuzz/corpus/$target
done
