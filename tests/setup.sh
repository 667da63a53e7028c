#!/bin/sh
# Installs what some stories run their servers against, where it is missing: Debian's certificate authority for tests,
# and Prometheus. Where that cannot be done, those stories are skipped, with a line that says so.
set -eu
for program in pebble prometheus; do
  command -v $program >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $program >/dev/null
  } || echo "$program is not installed, and could not be: its story is skipped"
done
