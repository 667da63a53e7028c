#!/usr/bin/env bash
# The official SDKs against the demo server: every case in their languages, then one closing line for all.
set -uo pipefail
cd "$(dirname "$0")/../.."
tests/sdk/setup.sh || exit 1
. tests/sdk/server.sh

run account create poor >/dev/null
POOR_KEY=$(run key create poor | python3 -c 'import json,sys; print(json.load(sys.stdin)["key"])')
run admin create tester >/dev/null </dev/null
export POOR_KEY

passed=0 failed=0
# count NAME COMMAND…: runs it and adds up its closing line. None means that it broke.
count() {
  local name=$1 out line p f
  shift
  out=$(timeout 100 "$@" 2>&1)
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' <<<"$out" | tail -1)
  grep -E '^(PASS|FAIL)' <<<"$out" | sed "s/^\(....\) /\1 $name: /"
  if [ -z "$line" ]; then
    echo "FAIL $name: no closing line"
    tail -20 <<<"$out"
    line='0 passed, 1 failed'
  fi
  read -r p _ f _ <<<"$line"
  passed=$((passed + p)) failed=$((failed + f))
}

count openai-python target/sdk/venv/bin/python tests/sdk/py_openai.py
count anthropic-python target/sdk/venv/bin/python tests/sdk/py_anthropic.py
# Node looks for packages beside the script.
cp tests/sdk/openai.mjs tests/sdk/anthropic.mjs tests/sdk/cases.mjs target/sdk/
count openai-node node target/sdk/openai.mjs
count anthropic-node node target/sdk/anthropic.mjs

if run audit >/dev/null; then passed=$((passed + 1)); else failed=$((failed + 1)); echo 'FAIL audit'; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
