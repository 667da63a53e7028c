#!/bin/sh
# Installs what the browser tests need where it is missing: Debian's Chromium and two npm packages.
set -eu
cd "$(dirname "$0")"
if ! command -v chromium >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null
fi
# What people put before the server. Without them their tests are skipped, with a line that says so.
for program in nginx caddy; do
  command -v $program >/dev/null || [ -x /usr/sbin/$program ] || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $program >/dev/null || true
  }
done
# Exact versions stand in package.json; no lock file, because that would record this machine's registry.
if [ ! -d node_modules/playwright-core ] || [ ! -d node_modules/axe-core ]; then
  npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts
fi
