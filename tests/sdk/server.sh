# Sourced: starts the demo server on a database of its own and a free port; sets ROOT, KEY and DATA; stops it at
# the end. COORDINATOR names the binary, IMITATE the server whose habits the demo has: mlx-lm speaks chat alone.
COORDINATOR=${COORDINATOR:-target/debug/coordinator}
DATA=$(mktemp -d)
"$COORDINATOR" --data-dir "$DATA" --json serve --demo --imitate "${IMITATE:-plain}" --listen 127.0.0.1:0 --log warn >"$DATA/out" 2>"$DATA/log" &
SERVER=$!
# shellcheck disable=SC2064
trap "kill $SERVER 2>/dev/null; wait $SERVER 2>/dev/null; rm -rf '$DATA'" EXIT
for _ in $(seq 200); do
  [ -s "$DATA/out" ] && break
  kill -0 $SERVER 2>/dev/null || { cat "$DATA/log"; exit 1; }
  sleep 0.05
done
field() { python3 -c 'import json,sys; print(json.loads(open(sys.argv[1]).readline())[sys.argv[2]])' "$DATA/out" "$1"; }
ROOT=http://$(field listening)
KEY=$(field key)
# The first answers of a debug build wait for the tokenizers.
for _ in $(seq 100); do curl -sf -o /dev/null "$ROOT/readyz" && break; sleep 0.05; done
run() { "$COORDINATOR" --data-dir "$DATA" --json "$@"; }
export ROOT KEY DATA COORDINATOR
