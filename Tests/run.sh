#!/bin/bash
# Everything: packages, guest, build, tests, lint, shell scripts, man page, fuzzers, sanitizers.
# A fresh Debian 12 with Swift is enough. Prints what each step took; fails if one of them did, and says which.
set -uo pipefail
set -m # each step is a process group of its own

usage() {
  cat <<TEXT
usage: Tests/run.sh [--filter PATTERN] [--long]
  --filter PATTERN  only tests whose names match (as swift test has it), and nothing else
  --long            more rounds, more seeds: TTBLK_LONG=1. With TTBLK_LONG=N in the environment N times as
                    many again: N hundred faults of each kind in each command, 10 N times the usual seeds.
TEXT
}

filter=
while (($#)); do
  case $1 in
  --filter) filter=${2-}; [[ -n $filter ]] || { usage >&2; exit 64; }; shift ;;
  --long) export TTBLK_LONG=${TTBLK_LONG:-1} ;;
  --help) usage; exit ;;
  *) usage >&2; exit 64 ;;
  esac
  shift
done

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# What every process that comes from here can be told by, even if it left its process group.
export TTBLK_TEST_RUN=$$-$EPOCHREALTIME
child=
report=
causes=
failed=()
# What the steps print, to repeat what failed at the very end, where nobody has to look for it.
log=$(mktemp)

# The processes of this run that are not this shell. One that looks for them finds itself too, but has ended by then.
left_over() {
  local file process
  for file in $(grep -lsxz "TTBLK_TEST_RUN=$TTBLK_TEST_RUN" /proc/[0-9]*/environ); do
    process=${file//[!0-9]/}
    [[ $process == "$$" || $process == "$BASHPID" || ! -e /proc/$process/exe ]] || echo "$process"
  done
}

leave() {
  local process
  trap - EXIT
  [[ -z $child ]] || kill -KILL -- "-$child" 2>/dev/null
  for process in $(left_over); do kill -KILL "$process" 2>/dev/null; done
  rm -f "$log"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# step NAME COMMAND...: runs it, and takes note of its end.
step() {
  local name=$1 begin=$SECONDS status
  shift
  echo "== $name"
  # A file and its follower, not a pipe: one that is left behind would keep a pipe open, and us waiting.
  "$@" </dev/null >"$log" 2>&1 &
  child=$!
  tail --pid="$child" -n +1 -f "$log" &
  wait "$child"
  status=$?
  kill -KILL -- "-$child" 2>/dev/null
  wait
  child=
  report+=$(printf '%-18s %5d s  %s' "$name" $((SECONDS - begin)) "$( ((status)) && echo "FAILED ($status)")")$'\n'
  ((status == 0)) && return
  failed+=("$name")
  causes+="-- $name"$'\n'$(why)$'\n'
  return "$status"
}

# The lines of a step's output that tell why it failed, or its last ones.
why() {
  grep -aE -A 2 --no-group-separator \
    '^✘ .*recorded an issue|Fatal error|error:|ERROR: |unexpected signal' "$log" \
    | grep -avE '^[◇✔]' | cut -c 1-400 | head -n 60 | grep . || tail -n 10 "$log"
}

finish() {
  local process
  for process in $(left_over); do
    echo "left behind: $process $(tr '\0' ' ' <"/proc/$process/cmdline")"
    failed+=("process $process was left behind")
  done
  [[ -z $causes ]] || printf '\n%s' "$causes"
  printf '\n%s%-18s %5d s\n' "$report" total "$SECONDS"
  ((${#failed[@]} == 0)) && exit 0
  printf 'failed:'
  printf ' %s;' "${failed[@]}"
  echo
  exit 1
}

packages() {
  command -v swift >/dev/null || { echo "no swift on the PATH: install it from swift.org" >&2; return 1; }
  # What tests ask for an opinion.
  images/setup.sh --build git perl strace openssl uml-utilities qemu-utils qemu-system-x86 qemu-system-common fio libnbd-bin \
    python3-libnbd e2fsprogs procps shellcheck
}

guest() { images/guest/build.sh --debian --qemu; }
build() { swift build --build-tests; }

# Without XCTest's own closing lines, which count no test.
tests() { swift test --skip-build --disable-xctest ${filter:+--filter "$filter"}; }

lint() { swift format lint --strict --parallel -r Package.swift Sources Tests; }

# Those that are run; what they source is followed.
scripts() { git grep -lE '^#!/bin/(ba)?sh' | xargs shellcheck -x -P SCRIPTDIR -S warning; }

# The man page lists every subcommand.
manual() {
  local page=.build/plugins/GenerateManual/outputs/ttblk/ttblk.1 command
  rm -f "$page"
  swift package generate-manual --configuration debug || return
  for command in run serve controller image model bench; do
    grep -q "^.It Em $command$" "$page" || { echo "no '$command' in $page" >&2; return 1; }
  done
}

fuzzers() { Tests/Fuzz/run.sh $((${TTBLK_LONG:-0} ? 60 : 5)); }

# The suites that parse what others wrote; optimised, they take a quarter of the time. The runner itself leaks a few bytes.
address_sanitizer() {
  ASAN_OPTIONS=detect_leaks=0 swift test --disable-xctest --sanitize=address --scratch-path .build-asan \
    -c release -Xswiftc -enable-testing --filter '^(VhostUser|DiskImage|BlockIO|Linux|TimeTravel|NBD)Tests\.'
}

# The suites with threads that share something; not those that fork, or look at single threads for minutes.
thread_sanitizer() {
  swift test --disable-xctest --sanitize=thread --scratch-path .build-tsan \
    --filter '^(Linux|VhostUser|NBD)Tests\.|LaneThreadTests|SharedDeviceTests|FileRegistryTests' \
    --skip 'InflightCrashTests|NBDTests.ModelTests'
}

step packages packages || finish
step guest guest || finish
TTBLK_GUEST=$(images/guest/build.sh --debian --qemu) || finish
export TTBLK_GUEST
step build build || finish
step tests tests
[[ -z $filter ]] || finish
step lint lint
step scripts scripts
step "man page" manual
step fuzzers fuzzers
step "address sanitizer" address_sanitizer
step "thread sanitizer" thread_sanitizer
finish
