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

# The browser waits more than it works, so the SDKs run beside it; the gauntlet has the machine to itself. The
# full size of the browser's own data is in its script: here a fifth is enough.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
(
  failed=()
  suite sdk tests/sdk/run.sh
  EXAMPLES=${EXAMPLES:-4} suite schemathesis tests/sdk/schemathesis.sh
  [ ${#failed[@]} = 0 ]
) >"$log" 2>&1 &
sdks=$!
BROWSER_ACCOUNTS=${BROWSER_ACCOUNTS:-2000} suite browser tests/browser/run.sh
wait $sdks || failed+=(sdk)
cat "$log"
suite gauntlet python3 tests/torture/run.py --quick --jobs 2 --binary "$COORDINATOR"

if [ ${#failed[@]} != 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
