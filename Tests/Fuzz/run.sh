#!/bin/sh
# Runs every fuzz target for some seconds each (default 20); exits nonzero as soon as one crashes.
# What was found interesting stays in .build-fuzz/corpus, a crashing input in .build-fuzz/crashes.
set -eu
cd "$(dirname "$0")"
seconds=${1:-20}
# Swift's own crash handler would end the process before libFuzzer has saved the input.
export SWIFT_BACKTRACE=enable=no
swift build -c release --sanitize=fuzzer --scratch-path .build-fuzz
for target in fuzz-messages fuzz-chains; do
  mkdir -p .build-fuzz/corpus/$target .build-fuzz/crashes
  echo "$target for $seconds s"
  .build-fuzz/release/$target -max_total_time="$seconds" -max_len=2048 -timeout=10 -rss_limit_mb=2048 \
    -verbosity=0 -print_final_stats=1 -artifact_prefix=.build-fuzz/crashes/$target- .build-fuzz/corpus/$target
done
