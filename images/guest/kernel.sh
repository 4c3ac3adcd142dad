# shellcheck shell=bash
# The UML kernel, from Debian's source package: Debian's own UML binary has no time travel.

kernel_packages() { echo "linux-source-6.12 gcc make libc6-dev flex bison bc xz-utils patch"; }

kernel_inputs() {
  file_hashes kernel.sh kernel.config kernel-amx.patch
  package_version linux-source-6.12
}

kernel_build() {
  local result=$1
  kernel_unpack
  patch -p1 <"$recipe/kernel-amx.patch"
  kernel_check_protocol include/uapi/linux/um_timetravel.h
  # Without these three the binary names the builder and the hour.
  export KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:00 UTC' KBUILD_BUILD_USER=ttblk KBUILD_BUILD_HOST=ttblk
  export ARCH=um LC_ALL=C
  make tinyconfig
  scripts/kconfig/merge_config.sh -m .config "$recipe/kernel.config"
  make olddefconfig
  kernel_check_config .config
  nice make -j"$(nproc)" linux
  strip -o "$result/linux" linux
  cp .config "$result/kernel.config"
}

# Leaves out sources that ARCH=um cannot use. Every Kconfig file stays: they are all read.
kernel_unpack() {
  local directory excludes=()
  for directory in drivers/{gpu,media,staging,infiniband,net/ethernet,net/wireless} sound tools Documentation 'arch/*/boot/dts'; do
    excludes+=(--exclude="linux-source-6.12/$directory/*."{c,h,S,rst,txt,yaml,json,dts,dtsi})
  done
  tar -xf /usr/src/linux-source-6.12.tar.xz --strip-components=1 "${excludes[@]}"
}

# ttblk speaks version 2 of the shared schedule memory.
kernel_check_protocol() {
  grep -Eq '^#define UM_TIMETRAVEL_SCHEDSHM_VERSION[[:space:]]+2$' "$1" ||
    die "UM_TIMETRAVEL_SCHEDSHM_VERSION is not 2 in $1"
}

# kconfig drops an option silently when a dependency is missing. Here that is an error.
kernel_check_config() {
  local line option missing=()
  while read -r line; do
    case $line in
    CONFIG_*=*) grep -qxF "$line" "$1" || missing+=("$line") ;;
    "# CONFIG_"*" is not set")
      option=${line#\# } option=${option%% *}
      ! grep -q "^$option=" "$1" || missing+=("$line")
      ;;
    esac
  done <"$recipe/kernel.config"
  ((${#missing[@]} == 0)) || die "the kernel's .config lacks: ${missing[*]}"
}
