#!/usr/bin/env bash
# The suites that are not cargo's: the official SDKs, generated requests, a real browser, the quick half of the
# gauntlet. Each installs what it needs and closes with `N passed, N failed`; all run, then the worst one decides.
set -uo pipefail
cd "$(dirname "$0")/.."
cargo build || exit 1
export COORDINATOR=$PWD/target/debug/coordinator COORDINATOR_BIN=$PWD/target/debug/coordinator
failed=()

# suite NAME COMMAND…
suite() {
  local name=$1 began=$SECONDS
  shift
  echo "== $name"
  "$@" || failed+=("$name")
  echo "== $name took $((SECONDS - began)) s"
}

suite sdk tests/sdk/run.sh
EXAMPLES=${EXAMPLES:-4} suite schemathesis tests/sdk/schemathesis.sh
suite browser tests/browser/run.sh
suite gauntlet python3 tests/torture/run.py --quick --binary "$COORDINATOR"

if [ ${#failed[@]} != 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
