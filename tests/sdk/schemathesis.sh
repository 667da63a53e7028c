#!/usr/bin/env bash
# schemathesis against the demo server: generated requests to every documented route; an answer must be of a
# documented status, type and shape. Closes with `N passed, N failed` (routes). EXAMPLES=n: so many a route.
set -uo pipefail
cd "$(dirname "$0")/../.."
tests/sdk/setup.sh || exit 1
. tests/sdk/server.sh
run admin create tester >/dev/null </dev/null
ADMIN_KEY=$(run admin key tester | python3 -c 'import json,sys; print(json.load(sys.stdin)["key"])')
st=$PWD/target/sdk/venv-schemathesis/bin/st
export SCHEMATHESIS_HOOKS=
# Not `unsupported_method`: a wrong method is 404 here, in the envelope, by contract.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth
passed=0 failed=0
# probe NAME KEY OPTIONS…: the routes that a filter leaves, with a key.
probe() {
  local name=$1 key=$2 out selected bad
  shift 2
  out=$(cd "$DATA" && NO_COLOR=1 timeout 120 nice "$st" run "$ROOT/openapi.json" --url "$ROOT" \
    --header "Authorization: Bearer $key" --checks "$checks" --max-examples "${EXAMPLES:-12}" --seed 7 \
    --phases examples,coverage,fuzzing --request-timeout 20 --workers 2 --continue-on-failure --no-shrink "$@" 2>&1)
  echo "$out" >"target-$name.log" 2>/dev/null || true
  echo "$out" | tail -60 | grep -vE '^ *$' | tail -${LINES_SHOWN:-25} | sed "s/^/$name: /"
}
probe admin "$ADMIN_KEY" --include-path-regex '^/v1/admin' --exclude-path-regex 'session|setup'
