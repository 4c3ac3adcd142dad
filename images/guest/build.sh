#!/bin/bash
# Builds the guest that ttblk is tested with; prints the directory that holds it. See README.md.
set -euo pipefail
# Else a failure inside $(...) goes on, with a wrong key.
shopt -s inherit_errexit

recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cache.sh
. "$recipe/cache.sh"
# shellcheck source=kernel.sh
. "$recipe/kernel.sh"
# shellcheck source=initramfs/build.sh
. "$recipe/initramfs/build.sh"
# shellcheck source=preload/build.sh
. "$recipe/preload/build.sh"
# shellcheck source=debian/build.sh
. "$recipe/debian/build.sh"
# shellcheck source=qemu/build.sh
. "$recipe/qemu/build.sh"

all_parts=(kernel tools initramfs preload debian qemu programs)

usage() { echo "usage: images/guest/build.sh [--debian] [--qemu] [--print-key]"; }

# One key for all: a change of any recipe gives a new results directory.
guest_key() {
  local part
  for part in "${all_parts[@]}"; do part_key "$part"; done | sha256sum | cut -c1-16
}

# The key that a build would have now. It needs the versions that apt would install.
print_key() {
  local package
  for package in linux-source-6.12 libc6-dev busybox-static linux-image-cloud-amd64 fio e2fsprogs; do
    [[ -n $(package_version "$package") ]] || die "apt knows no $package: apt-get update"
  done
  guest_key
}

# Links what the parts hold into one directory. A part that is not asked for, but is there, comes along.
publish() {
  local part directory
  mkdir -p "$1"
  for part in "${all_parts[@]}"; do
    directory=$(part_directory "$part")
    [[ ! -d $directory ]] || ln -f "$directory"/* "$1/"
  done
}

# Replaces $cache/guest in one step: whoever starts a guest meanwhile gets the old one or the new one.
point_at() {
  ln -sfn "${1##*/}" "$cache/guest.new"
  mv -T "$cache/guest.new" "$cache/guest"
}

# Whether the results are there, and are those that $cache/guest points at.
is_complete() {
  local results=$1 file
  shift
  [[ $(readlink "$cache/guest") == "${results##*/}" ]] || return 1
  for file; do [[ -f $results/$file ]] || return 1; done
}

build_all() {
  local part results
  for part; do build_part "$part"; done
  results=$cache/guest-$(guest_key)
  publish "$results"
  point_at "$results"
}

main() {
  local parts=(kernel tools initramfs preload) results
  local wanted=(linux guest-test initramfs.cpio.gz libttblk-guest.so)
  while (($#)); do
    case $1 in
    --debian) parts+=(debian_base debian) wanted+=(debian.ext4) ;;
    --qemu) parts+=(qemu programs) wanted+=(vmlinuz-qemu initramfs-qemu.cpio.gz programs.ext4) ;;
    --print-key) print_key; return ;;
    --help) usage; return ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
  done
  [[ $(uname -m) == x86_64 ]] || die "only x86_64 hosts are supported, this is $(uname -m)"
  command -v apt-get dpkg-query >/dev/null || die "needs a Debian 12 host (apt-get, dpkg-query)"
  results=$cache/guest-$(guest_key)
  if ! is_complete "$results" "${wanted[@]}"; then
    mkdir -p "$cache"
    # One builder at a time; who waited finds everything built. The lock goes with the process.
    exec 9>"$cache/lock"
    flock 9
    build_all "${parts[@]}"
    results=$cache/guest-$(guest_key)
  fi
  echo "$results"
}

main "$@"
