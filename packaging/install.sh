#!/bin/sh
# Installs the binary beside this script, or the one in the folder named, after its sum was checked. It fetches nothing.
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
refuse() {
  echo "$1: nothing was installed" >&2
  exit 1
}
# As seen from where this was called.
case $to in /*) ;; *) to=$PWD/$to ;; esac
cd "$from" || refuse "there is no folder $from"
[ -f SHA256SUMS ] || refuse "there is no SHA256SUMS in $from"
[ -f coordinator ] || refuse "there is no coordinator in $from"
line=$(grep -E '[ *]coordinator$' SHA256SUMS) || refuse "SHA256SUMS does not name the binary"
# Where one of the two is missing, the other is there. Neither is asked to be quiet: not all know the same word for it.
if command -v sha256sum >/dev/null; then sum=sha256sum
elif command -v shasum >/dev/null; then sum='shasum -a 256'
else refuse "neither sha256sum nor shasum is there to check the sum with"
fi
printf '%s\n' "$line" | $sum -c - >/dev/null || refuse "the sum does not fit"
mkdir -p "$to" || refuse "$to cannot be made"
new=$to/.coordinator.new
trap 'rm -f "$new"' EXIT
{ cp coordinator "$new" && chmod 0755 "$new"; } || refuse "$to cannot be written"
# One of another architecture, or a folder that nothing may be run from, shows here: the one that works stays.
version=$("$new" version) || refuse "the binary does not run here ($(uname -sm))"
# The old one is replaced at once, also while it runs.
mv "$new" "$to/coordinator"
echo "installed $version in $to"
