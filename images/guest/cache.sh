# shellcheck shell=bash
# Parts of the guest, each built once into a directory named after what it was made from.
#
# A part NAME has three functions: NAME_packages (Debian packages, one line), NAME_inputs
# (text that decides the result: file hashes, package versions, other parts' keys) and
# NAME_build DIR (fills DIR). Its result is $cache/NAME-<key>. NAME_prepare, if there is one, gets what is not
# to be installed.

cache=${TTBLK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ttblk}

say() { echo "guest: $*" >&2; }
die() { say "error: $*"; exit 1; }

# The version of a package: as installed; else as it was when the cache was filled (so that a
# restored cache needs no packages and no network); else as apt would install it.
package_version() {
  local installed
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null || true)
  if [[ $installed == "installed "* ]]; then
    echo "${installed#installed }"
  elif [[ -s $cache/versions/$1 ]]; then
    cat "$cache/versions/$1"
  else
    apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p'
  fi
}

# Lines "hash  name" of recipe files, and of all files in recipe folders, named relative to the
# recipe so that a moved tree keeps its key.
file_hashes() {
  (cd "$recipe" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}

part_key() { "$1_inputs" | sha256sum | cut -c1-16; }
part_directory() { echo "$cache/$1-$(part_key "$1")"; }

# Installs what is missing, or says in one line how to.
need_packages() {
  local package missing=()
  for package; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  [[ $EUID == 0 ]] || die "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}"
  say "installing ${missing[*]}"
  apt_install "${missing[@]}" || { apt-get update && apt_install "${missing[@]}"; } >&2 ||
    die "apt-get could not install: ${missing[*]}"
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null >&2
}

# Downloads a package without installing it; of one that only names another, the other one.
fetch_package() {
  [[ -f $(fetched_package "$1") ]] || download_package "$1" || { apt-get update >&2 && download_package "$1"; } ||
    die "apt-get could not download: $1"
}

# Where it is; nothing if it is not there in the version that is known.
fetched_package() { echo "$cache/packages/$1-$(package_version "$1").deb"; }

download_package() {
  local version real
  rm -rf "$cache/packages" "$cache/versions/$1"
  mkdir -p "$cache/packages/new" "$cache/versions"
  version=$(package_version "$1")
  real=$(apt-cache depends --important "$1" | sed -n 's/^ *Depends: \([^<].*\)/\1/p' | head -n 1)
  [[ -n $version && -n $real ]] || return 1
  # As another user it could not write here.
  (cd "$cache/packages/new" && apt-get -o APT::Sandbox::User=root download "$real" >&2) || return 1
  mv "$cache/packages/new"/*.deb "$cache/packages/$1-$version.deb"
  echo "$version" >"$cache/versions/$1"
}

# Makes sure that a part is in the cache. Call with the lock held: the scratch directory is shared.
build_part() {
  local name=$1 packages directory package status
  directory=$(part_directory "$name")
  [[ -d $directory ]] && return 0
  read -ra packages <<<"$("${name}_packages")"
  need_packages "${packages[@]}"
  ! declare -F "${name}_prepare" >/dev/null || "${name}_prepare"
  directory=$(part_directory "$name") # apt may have brought another version than the one guessed
  [[ -d $directory ]] && return 0
  say "building $name"
  SECONDS=0
  rm -rf "$cache/scratch"
  mkdir -p "$cache/scratch/result" "$cache/scratch/work" "$cache/versions"
  # set -e holds in a plain subshell only: not in one that is part of an && or || list.
  set +e
  (
    set -e
    cd "$cache/scratch/work"
    "${name}_build" "$cache/scratch/result"
  ) >"$cache/scratch/log" 2>&1 </dev/null
  status=$?
  set -e
  ((status == 0)) || report_failure "$name"
  for package in "${packages[@]}"; do
    package_version "$package" >"$cache/versions/$package"
  done
  mv -T "$cache/scratch/result" "$directory"
  rm -rf "$cache/scratch"
  say "built $name in $SECONDS s"
}

# The recipe's own one-line reason; of a tool that failed, the end of what it said.
report_failure() {
  local log=$cache/failed-$1.log
  mv "$cache/scratch/log" "$log"
  grep -a '^guest: error' "$log" >&2 || tail -n 20 "$log" >&2
  die "could not build $1, see $log"
}
