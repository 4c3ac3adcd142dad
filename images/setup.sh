#!/bin/bash
# setup.sh [--build] PACKAGE...: installs the Debian packages that are missing, as root; else says how to. With --build
# also those that ttblk is built with.
set -euo pipefail

if [[ ${1-} == --build ]]; then
  shift
  set -- libxxhash-dev zlib1g-dev libzstd-dev liburing-dev libaio-dev libgnutls28-dev pkg-config "$@"
fi
if [[ ${1-} == -* ]]; then
  echo "setup: unknown option '$1': setup.sh [--build] PACKAGE..." >&2
  exit 64
fi

missing=()
for package; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0
if [[ $EUID != 0 ]]; then
  echo "setup: missing packages; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" </dev/null >&2; }
# The lists of a fresh machine are empty or old.
install || { apt-get update >&2 && install; }
