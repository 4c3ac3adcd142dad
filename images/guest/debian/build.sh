# shellcheck shell=bash
# A Debian root file system image. In two parts, so that another job script costs no download.

debian_suite=bookworm
# Where the host itself gets its packages from; a fresh machine knows only after an update.
debian_mirror() {
  local list=(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages')
  [[ -n $("${list[@]}") ]] || apt-get update >&2
  "${list[@]}" | awk -v suite="$debian_suite" '$2 == suite { print $1; exit }'
}
# A fixed time and fixed identifiers: nothing in the image tells when or where it was made.
debian_epoch=1700000000
debian_uuid=7474626c-6b00-4000-8000-000000000001
debian_hash_seed=7474626c-6b00-4000-8000-000000000002

debian_base_packages() { echo "debootstrap debian-archive-keyring gpgv"; }

debian_base_inputs() {
  sed -n '/^debian_suite=/p; /^debian_base_build/,/^}/p' "$recipe/debian/build.sh"
}

# minbase, sqlite to do something real, busybox for poweroff.
debian_base_build() {
  [[ $EUID == 0 ]] || die "--debian needs root (debootstrap)"
  local mirror
  mirror=$(debian_mirror)
  [[ -n $mirror ]] || die "apt knows no mirror of $debian_suite: this needs a Debian 12 host"
  debootstrap --variant=minbase --include=sqlite3,busybox "$debian_suite" root "$mirror"
  rm -rf root/var/cache/apt/* root/var/lib/apt/lists/* root/var/log/* root/usr/share/{doc,info,locale,man}/*
  # Copied from the host by debootstrap.
  rm -f root/etc/resolv.conf
  echo ttblk >root/etc/hostname
  tar --numeric-owner --sort=name -C root -cf "$1/root.tar" .
}

debian_packages() { echo "e2fsprogs"; }

debian_inputs() {
  file_hashes debian jobs.sh
  part_key debian_base
  part_key tools
}

debian_build() {
  [[ $EUID == 0 ]] || die "--debian needs root (files of other owners)"
  mkdir root
  tar --numeric-owner -C root -xpf "$(part_directory debian_base)/root.tar"
  install -m 755 "$(part_directory tools)/guest-test" root/usr/bin/
  install -m 755 "$recipe/debian/ttblk-init" root/sbin/
  install -D -m 644 "$recipe/jobs.sh" root/usr/lib/ttblk/jobs.sh
  install -D -m 755 -t root/usr/lib/ttblk/jobs "$recipe"/debian/jobs/*
  mkdir root/host root/var/lib/ttblk
  find root -newermt "@$debian_epoch" -exec touch -h -d "@$debian_epoch" {} +
  debian_image "$1/debian.ext4"
}

# Without a mount, so no loop device. No lazy initialisation: the guest would do it at some later time.
debian_image() {
  export PATH=$PATH:/sbin:/usr/sbin E2FSPROGS_FAKE_TIME=$debian_epoch
  truncate -s 512M "$1"
  mke2fs -q -F -t ext4 -b 4096 -L ttblk-root -U "$debian_uuid" \
    -E "hash_seed=$debian_hash_seed,lazy_itable_init=0,lazy_journal_init=0,nodiscard" -d root "$1"
  e2fsck -fn "$1"
}
