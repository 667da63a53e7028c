#!/bin/sh
# The browser tests, from nothing: installs what is missing, builds the binary unless one is named, runs them.
set -eu
cd "$(dirname "$0")/../.."
tests/browser/setup.sh
[ -n "${COORDINATOR_BIN:-}" ] || cargo build
exec node tests/browser/run.mjs
