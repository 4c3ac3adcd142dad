# shellcheck shell=bash
# The library that `ttblk run` preloads into guest kernels: seeded entropy.

preload_packages() { echo "gcc libc6-dev"; }

preload_inputs() {
  file_hashes preload
  package_version libc6-dev
}

preload_build() {
  gcc -std=gnu11 -Wall -Wextra -O2 -fPIC -fvisibility=hidden -shared -s -o "$1/libttblk-guest.so" \
    "$recipe/preload/getrandom.c"
}
