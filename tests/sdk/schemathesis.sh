#!/usr/bin/env bash
# schemathesis against the demo server: generated requests to every documented route; each answer must have a
# documented status, type and shape. Closes with `N passed, N failed`, in requests. EXAMPLES says how many are
# made up for a route at least; KEEP a folder for the reports.
set -uo pipefail
cd "$(dirname "$0")/../.."
tests/sdk/setup.sh || exit 1
. tests/sdk/server.sh
run admin create tester >/dev/null </dev/null
ADMIN_KEY=$(run admin key tester | python3 -c 'import json,sys; print(json.load(sys.stdin)["key"])')
st=$PWD/target/sdk/venv-schemathesis/bin/st

checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
checks=$checks,response_headers_conformance,ignored_auth,negative_data_rejection,unsupported_method

passed=0 failed=0
# try NAME KEY OPTIONS…: the routes that the options leave, with a key.
try() {
  local name=$1 key=$2 report line status p f
  report=$DATA/$name
  shift 2
  (cd "$DATA" && NO_COLOR=1 timeout 100 "$st" run "$ROOT/openapi.json" --url "$ROOT" \
    --header "Authorization: Bearer $key" --checks "$checks" --max-examples "${EXAMPLES:-10}" --seed 7 \
    --phases examples,coverage,fuzzing --request-timeout 20 --workers 1 --no-shrink \
    --generation-database none --warnings off "$@") >"$report" 2>&1
  status=$?
  # Like `1240 generated, 1240 passed` or `1240 generated, 3 found 2 unique failures, 1237 passed`.
  line=$(grep -E '^ *[0-9]+ generated' "$report" | tail -1)
  p=$(grep -oE '[0-9]+ passed' <<<"$line" | cut -d' ' -f1)
  f=$(grep -oE '[0-9]+ unique' <<<"$line" | cut -d' ' -f1)
  # A run that broke off has failed, whatever it counted.
  if [ $status != 0 ] && [ "${f:-0}" = 0 ]; then f=1; fi
  passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0}))
  echo "$name:$line"
  if [ $status != 0 ]; then sed -n '/= FAILURES/,/= SUMMARY/p;/= ERRORS/,/= SUMMARY/p' "$report" | head -120; fi
  if [ -n "${KEEP:-}" ]; then cp "$report" "$KEEP/$name.txt"; fi
}

try account "$KEY" --exclude-path-regex '^/v1/admin'
try admin "$ADMIN_KEY" --include-path-regex '^/v1/admin' --exclude-path-regex '/(session|setup)$'

if run audit >/dev/null; then passed=$((passed + 1)); else failed=$((failed + 1)); echo 'FAIL audit'; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
