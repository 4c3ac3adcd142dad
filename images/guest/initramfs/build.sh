# shellcheck shell=bash
# The test program and the initramfs: busybox, guest-test, init.

tools_packages() { echo "gcc libc6-dev"; }

tools_inputs() {
  file_hashes initramfs/build.sh initramfs/guest-test.c
  package_version libc6-dev
}

# Static, so that the same binary runs in the initramfs, in any root file system and on the host.
tools_build() {
  gcc -std=gnu11 -Wall -Wextra -O2 -static -s -o "$1/guest-test" "$recipe/initramfs/guest-test.c"
}

initramfs_packages() { echo "busybox-static cpio"; }

initramfs_inputs() {
  file_hashes initramfs/build.sh initramfs/init jobs.sh
  part_key tools
  package_version busybox-static
}

initramfs_build() {
  local applet
  mkdir -p bin lib dev host proc sys tmp
  cp /bin/busybox "$(part_directory tools)/guest-test" bin/
  # /bin/busybox is not a static one where both packages once met.
  ldd bin/busybox >/dev/null 2>&1 && die "/bin/busybox is not static"
  for applet in $(bin/busybox --list); do
    [[ $applet == busybox ]] || ln -s busybox "bin/$applet"
  done
  cp "$recipe/initramfs/init" "$recipe/jobs.sh" .
  mv jobs.sh lib/
  chmod 755 init
  pack_initramfs . >"$1/initramfs.cpio.gz"
}

# pack_initramfs ROOT: sorted names, no times, no inode numbers, owner root: the same inputs give the same bytes.
pack_initramfs() {
  (
    cd "$1"
    find . -exec touch -h -d @0 {} +
    find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort |
      cpio --quiet --reproducible -o -H newc -R 0:0 | gzip -9n
  )
}
