#!/usr/bin/env bash
# bench.sh BINARY [SECONDS=5] [ROUNDS=3] [CONNECTIONS="1 64 256"]
#
# Billed, durable chat completions of ACCOUNTS=1000 accounts in turn, each with a key of its own, through the
# coordinator against the same through nginx as a plain proxy: one upstream, one client, alternating, whole and streamed.
# Prints requests/s, p50, p99 and the median ratio, and the coordinator's CPU a request; the same of one account
# beside all of them; the same servers through a machine that joined; system calls a request by kind (where strace is
# there); how long settlements took; then what an idle server, an open stream and an agent under 500 streams weigh, how
# fast it starts, that every answer has its row, and the audit.
# Needs nginx, wrk, curl and openssl (Debian: nginx-light, wrk …), which it installs if it may. Loopback only; free ports.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
binary=$(readlink -f "${1:?usage: bench.sh BINARY [SECONDS] [ROUNDS] [CONNECTIONS]}")
seconds=${2:-5} rounds=${3:-3} connections=${4:-1 64 256}
whole=qwen3.5-27b-claude-opus-8bit events=bench-stream slow=bench-slow
counted_requests=${COUNTED:-10000} accounts=${ACCOUNTS:-1000}

PATH=$PATH:/usr/sbin
need() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get -qq update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "$2" >/dev/null
  else
    echo "bench: $1 is missing (Debian: apt-get install $2)" >&2; exit 1
  fi
}
need wrk wrk; need nginx nginx-light; need curl curl; need openssl openssl

# A port that nobody answers at. Between the check and its use another may take it: then nginx says so.
taken=" "
free_port() {
  while :; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    case $taken in *" $port "*) continue ;; esac
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { taken="$taken$port "; return; }
  done
}

room=$(mktemp -d); chmod 755 "$room"; mkdir -p "$room/upstream/sse" "$room/proxy" "$room/idle"
export COORDINATOR_DATA_DIR="$room/data"
server= agents=
# Ends only what this script started, by pid.
cleanup() {
  for pid in $agents $server $(cat "$room/proxy/proxy.pid" "$room/upstream/upstream.pid" 2>/dev/null); do
    kill "$pid" 2>/dev/null || true
  done
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  rm -rf "$room"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

free_port; WHOLE=$port; free_port; EVENTS=$port; free_port; PROXY_WHOLE=$port; free_port; PROXY_EVENTS=$port
free_port; SLOW=$port
for name in upstream proxy; do
  sed -e "s/@WHOLE@/$WHOLE/; s/@EVENTS@/$EVENTS/; s/@PROXY_WHOLE@/$PROXY_WHOLE/; s/@PROXY_EVENTS@/$PROXY_EVENTS/; s/@SLOW@/$SLOW/; s/@MODEL@/$whole/" \
    "$here/$name.conf" >"$room/$name/nginx.conf"
done
{
  head='data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1714485721,"model":"'$whole'","choices":['
  printf '%s{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n' "$head"
  for i in $(seq 0 186); do
    printf '%s{"index":0,"delta":{"content":" tok%d"},"finish_reason":null}]}\n\n' "$head" "$i"
  done
  printf '%s{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n' "$head"
  printf '%s],"usage":{"prompt_tokens":41,"completion_tokens":187,"total_tokens":228}}\n\ndata: [DONE]\n\n' "$head"
} >"$room/upstream/sse/stream.txt"
for name in upstream proxy; do nginx -p "$room/$name" -c "$room/$name/nginx.conf" 2>/dev/null; done

# The value of a field in a flat JSON text: enough for what the commands print.
field() { tr -d ' \n' | sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p'; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Thousands of commands, each with a commit: made where no disk is waited for, if there is such a place.
memory=$room
[ -d /dev/shm ] && [ -w /dev/shm ] && memory=$(mktemp -d /dev/shm/bench.XXXXXX)
"$binary" --data-dir "$memory/data" account create owner --json >/dev/null
one_account() {
  "$1" --data-dir "$2" account create "bench$3" --json >/dev/null && "$1" --data-dir "$2" credit "bench$3" 100000 --json >/dev/null &&
    "$1" --data-dir "$2" key create "bench$3" --json | tr -d ' \n' | sed -n 's/.*"key":"\([^"]*\)".*/\1\n/p'
}
export -f one_account
seq "$accounts" | xargs -P 4 -I @ bash -c 'one_account "$0" "$1" @' "$binary" "$memory/data" >"$room/keys.all"
[ "$(wc -l <"$room/keys.all")" = "$accounts" ] || { echo "bench: some accounts were not made" >&2; exit 1; }
head -1 "$room/keys.all" >"$room/keys.one"
[ "$memory" = "$room" ] || { cp -r "$memory/data" "$room/data"; rm -rf "$memory"; }
export KEYS=$room/keys.all
"$binary" price set $events --input 0.10 --output 0.78 --json >/dev/null
"$binary" price set $slow --input 0.10 --output 0.78 --json >/dev/null
"$binary" provider add whole --url "http://127.0.0.1:$WHOLE/v1" --account owner --model $whole --json >/dev/null
"$binary" provider add events --url "http://127.0.0.1:$EVENTS/v1" --account owner --model "$events=$whole" --json >/dev/null
"$binary" provider add slow --url "http://127.0.0.1:$SLOW/v1" --account owner --model "$slow=$whole" --json >/dev/null

# Starts the server on a free port; sets `server`, `address` and `ready_ms`.
start() {
  : >"$room/ready"
  began=$(now_ms)
  "$binary" serve --listen 127.0.0.1:0 --json "$@" >"$room/ready" 2>>"$room/log" & server=$!
  until grep -q listening "$room/ready"; do
    kill -0 "$server" 2>/dev/null || { cat "$room/log" >&2; exit 1; }
    sleep 0.002
  done
  ready_ms=$(($(now_ms) - began))
  address=$(sed -n 's/.*"listening" *: *"\([^"]*\)".*/\1/p' "$room/ready")
  curl -sfk -o /dev/null "$scheme://$address/health"
}
stop() { kill -TERM "$server"; wait "$server" 2>/dev/null || true; server=; }
rss_kib() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/${1:-$server}/status"; }

scheme=http
starts=; for _ in 1 2 3 4 5; do start; starts="$starts $ready_ms"; stop; done
median() { tr ' ' '\n' | grep . | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
start; sleep 1; idle=$(rss_kib)

# One run of wrk against 127.0.0.1:$1 with $2 connections.
load() { wrk -t1 -c"$2" -d"${3:-$seconds}s" --timeout 10s -s "$here/post.lua" "$scheme://127.0.0.1:$1" | grep RESULT; }
# The CPU that the server used so far, in clock ticks of 10 ms: user, system.
ticks() { awk '{ print $14, $15 }' "/proc/$server/stat"; }
values() { grep -o "$1=[0-9]*" | cut -d= -f2; }

# p50 and p99 of the settlements logged behind byte $1 of the log: from the end of an answer until it is durable.
settled_since() {
  sleep 0.2
  tail -c +"$(($1 + 1))" "$room/log" | grep -o '"settle_us":[0-9]*' | cut -d: -f2 | sort -n |
    awk '{ v[NR] = $1 } END {
      p50 = v[int((NR + 1) / 2)]; p99 = v[int(NR * 0.99 + 0.99)]
      if (NR) printf "p50 %d us, p99 %d us: %.1f times", p50, p99, p99 / p50
    }'
}

port=${address##*:} answered=0 cut_at_most=0
printf '%-11s %-6s %32s  %32s  %13s  %s\n' connections answer "nginx /s   p50 us   p99 us" "coordinator /s   p50 us   p99 us" "CPU us (sys)" "ratio (each round)"
for c in $connections; do
  for STREAM in 0 1; do
    export STREAM
    if [ $STREAM = 1 ]; then MODEL=$events yard=$PROXY_EVENTS name=stream; else MODEL=$whole yard=$PROXY_WHOLE name=whole; fi
    export MODEL
    load "$port" "$c" 1 >>"$room/ours.all"; cut_at_most=$((cut_at_most + c))
    : >"$room/nginx"; : >"$room/ours"
    logged=$(stat -c %s "$room/log")
    used=0 used_sys=0
    for _ in $(seq "$rounds"); do
      load "$yard" "$c" >>"$room/nginx"
      set -- $(ticks); load "$port" "$c" >>"$room/ours"; set -- "$1" "$2" $(ticks)
      used=$((used + $3 + $4 - $1 - $2)) used_sys=$((used_sys + $4 - $2)) cut_at_most=$((cut_at_most + c))
    done
    cpu=$(values requests <"$room/ours" | awk -v u=$used -v s=$used_sys '{ n += $1 } END { printf "%.1f (%.1f)", u * 1e4 / n, s * 1e4 / n }')
    cat "$room/ours" >>"$room/ours.all"
    [ $STREAM = 1 ] || printf 'settle, %3d connections  %s\n' "$c" "$(settled_since "$logged")" >>"$room/settled"
    ratios=$(paste -d' ' <(values rps <"$room/nginx") <(values rps <"$room/ours") | awk '{ printf "%.2f\n", $2 / $1 }')
    m() { values "$2" <"$room/$1" | median; }
    printf '%-11s %-6s %10s %9s %9s  %14s %8s %8s  %13s  %.2f (%s)\n' "$c" $name "$(m nginx rps)" "$(m nginx p50_us)" \
      "$(m nginx p99_us)" "$(m ours rps)" "$(m ours p50_us)" "$(m ours p99_us)" "$cpu" "$(echo "$ratios" | median)" "$(echo $ratios)"
  done
done
# The same stream to clients of the other dialects, of a server that speaks chat alone, beside one that passes through.
echo
printf '%-11s %-11s %14s %8s %8s   %s\n' connections translated /s "p50 us" "p99 us" "ratio to the stream passed through (each round)"
export STREAM=1 MODEL=$events
c=64
for dialect in messages responses; do
  : >"$room/passed"; : >"$room/translated"
  for _ in $(seq "$rounds"); do
    load "$port" "$c" >>"$room/passed"; DIALECT=$dialect load "$port" "$c" >>"$room/translated"
    cut_at_most=$((cut_at_most + 2 * c))
  done
  cat "$room/passed" "$room/translated" >>"$room/ours.all"
  ratios=$(paste -d' ' <(values rps <"$room/passed") <(values rps <"$room/translated") | awk '{ printf "%.2f\n", $2 / $1 }')
  printf '%-11s %-11s %14s %8s %8s   %.2f (%s)\n' "$c" $dialect "$(m translated rps)" "$(m translated p50_us)" \
    "$(m translated p99_us)" "$(echo "$ratios" | median)" "$(echo $ratios)"
done

# The same servers through machines that joined, beside the same dialled: speed, what it adds to one request at a time,
# and what an agent weighs under many slow streams.
joins=$("$binary" provider invite owner --machines 3 --json | field key)
join() {
  "$binary" price set "joined-$1" --input 0.10 --output 0.78 --json >/dev/null
  "$binary" join "http://$address" --key "$joins" --name "joined-$1" --to "http://127.0.0.1:$2/v1" --max-concurrent 1024 \
    --model "joined-$1=$whole" --json >"$room/$1.joined" 2>>"$room/agents.log" & agent=$!
  agents="$agents $agent"
  until grep -q joined "$room/$1.joined"; do
    kill -0 "$agent" 2>/dev/null || { cat "$room/agents.log" >&2; exit 1; }
    sleep 0.01
  done
}
join whole "$WHOLE"; join stream "$EVENTS"; join slow "$SLOW"
echo
printf '%-11s %-6s %24s  %24s  %12s  %s\n' connections answer "dialled /s   p50 us" "joined /s   p50 us" "added p50 us" "ratio (each round)"
for c in 1 64; do
  for STREAM in 0 1; do
    export STREAM
    [ $STREAM = 1 ] && dialled=$events name=stream || { dialled=$whole; name=whole; }
    MODEL=joined-$name load "$port" "$c" 1 >>"$room/ours.all"
    : >"$room/dialled"; : >"$room/joined"
    for _ in $(seq "$rounds"); do
      MODEL=$dialled load "$port" "$c" >>"$room/dialled"; MODEL=joined-$name load "$port" "$c" >>"$room/joined"
      cut_at_most=$((cut_at_most + 2 * c))
    done
    cut_at_most=$((cut_at_most + c))
    cat "$room/dialled" "$room/joined" >>"$room/ours.all"
    ratios=$(paste -d' ' <(values rps <"$room/dialled") <(values rps <"$room/joined") | awk '{ printf "%.2f\n", $2 / $1 }')
    added=$(echo "$(m joined p50_us) $(m dialled p50_us)" | awk '{ print $1 - $2 }')
    printf '%-11s %-6s %13s %10s  %13s %10s  %12s  %.2f (%s)\n' "$c" $name "$(m dialled rps)" "$(m dialled p50_us)" \
      "$(m joined rps)" "$(m joined p50_us)" "$added" "$(echo "$ratios" | median)" "$(echo $ratios)"
  done
done
STREAM=1 MODEL=joined-slow load "$port" 500 6 >>"$room/ours.all" & slow=$!
cut_at_most=$((cut_at_most + 500))
sleep 5; weighs=$(rss_kib "$agent"); wait "$slow"
# The rest is measured without them.
kill $agents; agents=

# One account and all of them, alternating.
export STREAM=0 MODEL=$whole
for _ in $(seq "$rounds"); do
  for which in one all; do
    KEYS=$room/keys.$which load "$port" 64 | tee -a "$room/ours.all" >>"$room/by.$which"; cut_at_most=$((cut_at_most + 64))
  done
done
spread=$(paste -d' ' <(values rps <"$room/by.one") <(values rps <"$room/by.all") | awk '{ printf "%.2f\n", $2 / $1 }')

# Before strace looks on: what it costs is in no figure.
calls="no strace here"
if command -v strace >/dev/null && strace -c -f -o "$room/calls" true 2>/dev/null; then
  strace -c -f -o "$room/calls" -p "$server" 2>/dev/null & tracer=$!
  sleep 1; n=$(load "$port" 64 2 | tee -a "$room/ours.all" | values requests); cut_at_most=$((cut_at_most + 64))
  kill -INT "$tracer"; wait "$tracer" 2>/dev/null || true
  calls=$(awk -v n="$n" '$4 ~ /^[0-9]+$/ && $NF != "total" && $4 / n >= 0.05 { printf "%s %.2f  ", $NF, $4 / n }' "$room/calls")
fi

answered=$(values requests <"$room/ours.all" | awk '{ n += $1 } END { print n }')
errors=$(values errors <"$room/ours.all" | awk '{ n += $1 } END { print n }')

echo
cat "$room/settled"
echo "$accounts accounts        $(echo "$spread" | median) of one account ($(echo $spread)), 64 connections, whole"
echo "system calls a request $calls"
echo "release binary         $(($(stat -c %s "$binary") / 1024)) KiB"
echo "start to ready         $(echo "$starts" | median) ms (median of 5:$starts)"
echo "idle resident memory   $idle KiB; after the load $(rss_kib) KiB"
echo "an agent's memory      $weighs KiB with 500 streams"
sleep 1
rows() { "$binary" audit --json | field usage_rows; }
before=$(rows)
echo "errors                 $errors"
echo "rows and answers       $before rows, $answered answers counted, at most $cut_at_most cut off by wrk at the end of a run"
[ "$before" -ge "$answered" ] && [ "$before" -le $((answered + cut_at_most)) ] || { echo "bench: rows are missing" >&2; failed=1; }

# The same with nothing cut off: so many sent, so many answered, so many rows.
for STREAM in 0 1; do
  export STREAM EXACTLY=$counted_requests
  [ $STREAM = 1 ] && MODEL=$events || MODEL=$whole
  export MODEL
  got=$(load "$port" 64 20 | values requests); sleep 1; after=$(rows)
  echo "counted, stream=$STREAM      $EXACTLY sent, $got answered, $((after - before)) rows"
  [ "$got" = "$EXACTLY" ] && [ $((after - before)) = "$EXACTLY" ] || { echo "bench: the counts differ" >&2; failed=1; }
  before=$after
done
stop
# What a stream takes: two thousand that are open, passed through and translated, each on a server that did nothing else
# but a few. They all begin at once: what that took is given back before one looks.
export STREAM=1 MODEL=$slow
unset EXACTLY
for dialect in chat messages responses; do
  start; port=${address##*:}
  export DIALECT=${dialect#chat}
  load "$port" 64 2 >/dev/null; few=$(rss_kib)
  load "$port" 2000 20 >/dev/null & loading=$!
  sleep 18; each=$((($(rss_kib) - few) * 10 / 2000)); wait "$loading"
  [ $dialect != chat ] || passed=$each
  awk -v d=$dialect -v n="$each" -v p="$passed" 'BEGIN {
    printf "an open stream         %-9s %.1f KiB%s\n", d, n / 10, d == "chat" ? "" : sprintf(", %.1f beyond one passed through", (n - p) / 10)
  }'
  stop
done
unset DIALECT
# Inside TLS: the same answers, 64 connections that stay.
unset EXACTLY
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench \
  -keyout "$room/key.pem" -out "$room/chain.pem" 2>/dev/null
scheme=https
start --tls-cert "$room/chain.pem" --tls-key "$room/key.pem"; port=${address##*:}
for STREAM in 0 1; do
  export STREAM
  [ $STREAM = 1 ] && MODEL=$events || MODEL=$whole
  export MODEL
  load "$port" 64 1 >/dev/null; load "$port" 64 >"$room/tls"
  echo "inside TLS, stream=$STREAM   $(values rps <"$room/tls")/s, p50 $(values p50_us <"$room/tls") us, p99 $(values p99_us <"$room/tls") us"
done
stop
scheme=http
echo "audit                  $("$binary" audit --json | tr -d '\n')"
exit "${failed:-0}"
