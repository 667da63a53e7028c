#!/bin/sh
# Installs what some stories run their servers against, where it is missing: Debian's certificate authority for tests,
# Prometheus, and an SMTP server (aiosmtpd, from PyPI, below target). Where that cannot be done, those stories are
# skipped, with a line that says so.
set -eu
cd "$(dirname "$0")/.."
if ! target/smtpd/bin/python -c 'import aiosmtpd' 2>/dev/null; then
  { python3 -m venv target/smtpd && target/smtpd/bin/python -m pip install --quiet --disable-pip-version-check aiosmtpd; } ||
    { rm -rf target/smtpd; echo "aiosmtpd is not installed, and could not be: its story is skipped"; }
fi
for program in pebble prometheus; do
  command -v $program >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $program >/dev/null
  } || echo "$program is not installed, and could not be: its story is skipped"
done
