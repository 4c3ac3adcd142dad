# shellcheck shell=bash
# A guest for QEMU: Debian's own kernel, the initramfs with the modules it needs, a disk with programs.

# In the order in which they need each other.
qemu_modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk qemu_fw_cfg)

qemu_packages() { echo "cpio"; }

# The kernel's package is taken apart, not installed.
qemu_prepare() { fetch_package linux-image-cloud-amd64; }

qemu_inputs() {
  sed -n '/^qemu_modules=/p; /^qemu_build/,/^}/p' "$recipe/qemu/build.sh"
  file_hashes qemu/init
  part_key initramfs
  package_version linux-image-cloud-amd64
}

qemu_build() {
  local module file
  dpkg-deb -x "$(fetched_package linux-image-cloud-amd64)" package
  cp package/boot/vmlinuz-* "$1/vmlinuz-qemu"
  mkdir -p root/modules root/host
  for module in "${qemu_modules[@]}"; do
    file=$(find package/lib/modules -name "$module.ko")
    [[ -n $file ]] || die "the kernel of linux-image-cloud-amd64 has no module $module"
    cp "$file" root/modules/
  done
  echo "${qemu_modules[*]}" >root/modules/order
  install -m 755 "$recipe/qemu/init" root/init-qemu
  pack_initramfs root >additions.cpio.gz
  # The kernel unpacks one archive after the other.
  cat "$(part_directory initramfs)/initramfs.cpio.gz" additions.cpio.gz >"$1/initramfs-qemu.cpio.gz"
  rm -r "$cache/packages"
}

# Programs of the host that the guest runs, on a disk of their own: fio alone has 80 MB of libraries.
programs_packages() { echo "fio e2fsprogs"; }

programs_inputs() {
  local package
  sed -n '/^programs_build/,/^}/p; /^copy_program/,/^}/p' "$recipe/qemu/build.sh"
  for package in fio e2fsprogs libc6; do package_version "$package"; done
}

programs_build() {
  export PATH=$PATH:/sbin:/usr/sbin E2FSPROGS_FAKE_TIME=1700000000
  local program
  mkdir -p root/{dev,proc,sys,tmp,mnt,etc}
  for program in /usr/bin/fio /sbin/mke2fs /sbin/e2fsck /sbin/resize2fs; do copy_program "$program" root; done
  # What a test asks for: the guest's init puts it there.
  ln -s /lib/script root/script
  touch root/etc/mtab
  truncate -s 160M "$1/programs.ext4"
  mke2fs -q -F -t ext4 -O ^has_journal -m 0 -L ttblk-programs -d root "$1/programs.ext4"
  e2fsck -fn "$1/programs.ext4"
}

# copy_program PATH ROOT: with all libraries, and what loads them.
copy_program() {
  local file
  install -D "$1" "$2$1"
  for file in $(ldd "$1" | grep -o '/[^ ]*'); do
    [[ -e $2$file ]] || install -D "$(readlink -f "$file")" "$2$file"
  done
}
