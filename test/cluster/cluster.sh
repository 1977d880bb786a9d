#!/usr/bin/env bash
# Runs a cluster of three servers on loopback until it is interrupted. Their data stays in ./bin/cluster (or $DATA),
# so that the next run goes on with it.
set -euo pipefail
cd "$(dirname "$0")/../.."

data=${DATA:-bin/cluster}
bootstrap=a=127.0.0.1:7601,b=127.0.0.1:7611,c=127.0.0.1:7621
mkdir -p "$data"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait' EXIT
trap 'exit 0' INT TERM

n=0
for name in a b c; do
	rm -f "$data/$name/endpoints.json"
	./bin/rollcall serve --name "$name" --data "$data/$name" --bootstrap "$bootstrap" \
		--raft "127.0.0.1:76${n}1" --http "127.0.0.1:76${n}0" --dns "127.0.0.1:76${n}3" --nats "127.0.0.1:42${n}2" \
		>"$data/$name.out" 2>"$data/$name.log" &
	pids+=($!)
	n=$((n + 1))
done
for name in a b c; do
	until [ -e "$data/$name/endpoints.json" ]; do
		for pid in "${pids[@]}"; do
			kill -0 "$pid" 2>/dev/null || { cat "$data"/*.log >&2; exit 1; }
		done
		read -rt 0.1 <> <(:) || true # a pause that needs no program
	done
done
./bin/rollcall members list
cat <<TEXT

Any server takes any request. Kill one with SIGKILL and go on with the others:

  export ROLLCALL_SERVER=http://127.0.0.1:7600,http://127.0.0.1:7610,http://127.0.0.1:7620
  rollcall kv put greeting hello
  rollcall members groups
  kill -9 ${pids[0]}          # server a
  rollcall kv get greeting
  dig @127.0.0.1 -p 7613 _revision.rollcall.internal TXT +short

Their logs are $data/*.log. Interrupt (Ctrl-C) stops what still runs.
TEXT
wait
