#!/bin/sh
# Installs the binary beside this script, or the one in the folder named, after its sum was checked.
#   install.sh [FOLDER] [--to /usr/local/bin]
set -eu
from=$(dirname "$0")
to=/usr/local/bin
while [ $# -gt 0 ]; do
  case $1 in
    --to) to=${2:?--to needs a folder}; shift 2 ;;
    -*) echo "install.sh [FOLDER] [--to DIR]" >&2; exit 2 ;;
    *) from=$1; shift ;;
  esac
done
cd "$from"
[ -f SHA256SUMS ] || { echo "there is no SHA256SUMS in $from: nothing was installed" >&2; exit 1; }
line=$(grep -E '[ *]coordinator$' SHA256SUMS) || { echo "SHA256SUMS does not name the binary: nothing was installed" >&2; exit 1; }
printf '%s\n' "$line" | sha256sum -c --quiet - || { echo "the sum does not fit: nothing was installed" >&2; exit 1; }
mkdir -p "$to"
install -m 0755 coordinator "$to/.coordinator.new"
# The old one is replaced at once, also while it runs.
mv "$to/.coordinator.new" "$to/coordinator"
echo "installed $("$to/coordinator" version) in $to"
