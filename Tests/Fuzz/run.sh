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
  whole() {
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
  }
  { printf '\377\000\000\000\003'; whole; } >"$folder/whole"
  # An even first byte: nothing goes without TLS.
  { printf '\376\000\000\000\003'; option '\005' '\000'; whole; } >"$folder/tls"
}
seed_nbd
# A model of each kind, with what its keys may hold. TTBLK names the program, which shows its presets, too.
seed_model() {
  folder=.build-fuzz/corpus/fuzz-model
  mkdir -p "$folder"
  ttblk=${TTBLK:-../../.build/debug/ttblk}
  if [ -x "$ttblk" ]; then
    for preset in hdd-7200 hdd-10k ssd-nvme-mlc ssd-sata-consumer optane gp2 gp3-noisy; do
      "$ttblk" model show "$preset" >"$folder/$preset"
    done
  fi
  printf 'preset = "gp3"\niops = 4000\nqueue_depth = 16\n\n[read]\np99 = "7ms"\n' >"$folder/preset"
  printf 'kind = "affine"   # comment\nlatency = "50us"\nservers = 3\nread = "1us"\nbandwidth = "1GB/s"\n' \
    >"$folder/affine"
  printf 'kind = "distribution"\nread = { table = ["0%% 1us", "50%% 2us", "100%% 9ms"] }\nminimum = "1us"\n%s' \
    'mean = "2us"' >"$folder/distribution"
  printf '\357\273\277"a b" = \047\047\047x\n\047\047\047\n[[z]]\nc = [1, 0x1F, 1_0, 0o7, 0b1]\r\nd.e = 07:32:00\n%s' \
    '[ t . "u" ]\nf = -inf\ng = [{ h = """\u00e9\\""" }, 1e3, true]' >"$folder/syntax"
}
seed_model
# What fio writes, of both kinds, where it is installed.
seed_fio() {
  command -v fio >/dev/null || return 0
  folder=.build-fuzz/corpus/fuzz-fio
  mkdir -p "$folder"
  for format in json json+; do
    fio --output-format=$format --output="$folder/$format" --name=j --ioengine=null --rw=randrw --bs=4k \
      --size=64k --iodepth=2 --percentile_list=50:99 --lat_percentiles=1 --slat_percentiles=0
  done
}
seed_fio
# The decisions of each kind of fault, as a run logs them.
seed_faults() {
  folder=.build-fuzz/corpus/fuzz-faults
  mkdir -p "$folder"
  decision() {
    printf '{"time":%d,"disk":"d",%s"fault":"%s","kind":"%s"%s}\n' "$1" "${2:+\"request\":$2,}" "$3" "$3" "$4"
  }
  write=',"operation":"write","offset":2048,"length":1024'
  {
    decision 1000 1 io-error "$write"
    decision 1000 1 misdirected-write "$write,\"to\":[4096]"
    decision 6000 6 lost-write "$write"
    decision 11000 11 corrupt-write "$write,\"flips\":[3,4095]"
    decision 0 0 bit-rot ',"operation":"read","offset":0,"length":512,"flips":[7]'
    decision 5000 5 stale-read ',"operation":"read","offset":10240,"length":512'
    decision 10000 10 latent-errors ',"operation":"read","offset":20480,"length":512,"sectors":[40]'
    decision 2000 2 lying-flush ',"operation":"flush","offset":0,"length":0'
    decision 4000 4 no-space "$write"
    decision 8000 8 slow "$write,\"slow\":[2500,1000]"
    decision 9000 9 stall ',"until":[12000]'
    decision 13000 13 hang "$write"
  } >"$folder/many"
  {
    decision 16000 '' power-cut ',"volatile":[4],"kept":[1,0,512,6,0,1024]'
    decision 20000 20 removal ',"operation":"read","offset":0,"length":512'
  } >"$folder/events"
}
seed_faults
for target in ${FUZZ_TARGETS:-fuzz-messages fuzz-chains fuzz-qcow2 fuzz-cow fuzz-nbd fuzz-model fuzz-fio \
  fuzz-faults}; do
  mkdir -p .build-fuzz/corpus/$target .build-fuzz/crashes
  echo "$target for $seconds s"
  length=2048
  case $target in fuzz-qcow2 | fuzz-cow | fuzz-fio) length=16384 ;; esac
  .build-fuzz/release/$target -max_total_time="$seconds" -max_len=$length -timeout=10 -rss_limit_mb=2048 \
    -verbosity=0 -print_final_stats=1 -artifact_prefix=.build-fuzz/crashes/$target- .build-fuzz/corpus/$target
done
