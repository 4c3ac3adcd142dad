#!/bin/bash
# setup.sh PACKAGE...: installs the Debian packages that are missing, as root; else says how to.
set -euo pipefail

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
