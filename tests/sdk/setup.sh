#!/usr/bin/env bash
# Installs the official SDKs under target/sdk, once for each version of the lists beside this file.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/sdk into=target/sdk
mkdir -p "$into"

# stamp LIST NAME: the list was installed already.
stamp() { cmp -s "$here/$1" "$into/$2.done"; }

# venv LIST NAME: a virtual environment with what the list names. A copied one does not work, so it is made anew.
venv() {
  if ! stamp "$1" "$2" || ! "$into/$2/bin/python" -c '' 2>/dev/null; then
    rm -rf "${into:?}/$2"
    python3 -m venv "$into/$2"
    "$into/$2/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/$1"
    cp "$here/$1" "$into/$2.done"
  fi
}

venv requirements.txt venv
venv schemathesis.txt venv-schemathesis
if ! stamp package.json node; then
  cp "$here/package.json" "$into/"
  (cd "$into" && npm install --silent --no-audit --no-fund --no-package-lock)
  cp "$here/package.json" "$into/node.done"
fi
