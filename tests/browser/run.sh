#!/bin/sh
# The browser tests but for how the views look (make views), from nothing: installs what is missing, builds the binary unless one is named, runs them.
set -eu
cd "$(dirname "$0")/../.."
tests/browser/setup.sh
[ -n "${COORDINATOR_BIN:-}" ] || cargo build
failed=0
node tests/browser/proxied.mjs || failed=1
node tests/browser/alerts.mjs || failed=1
node tests/browser/keyboard.mjs || failed=1
node tests/browser/run.mjs || failed=1
exit $failed
