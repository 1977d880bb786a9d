#!/usr/bin/env bash
# A minute with Rollcall: a fleet's configuration and services come in, are found by DNS, change under the eyes of a
# subscriber, and the ledger tells the story. It is a test as well: it ends with status 1 when a step does not show
# what it should.
#
#   make demo                      builds the binary and runs this
#   ROLLCALL=/path/to/rollcall test/demo/demo.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

rollcall=$(realpath "${ROLLCALL:-bin/rollcall}")
track=testdata/track
work=$(mktemp -d)
server='' watcher=''

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'; else bold='' dim='' red='' plain=''; fi

cleanup() {
	status=$?
	trap - EXIT
	for process in $watcher $server; do kill -TERM "$process" 2>/dev/null || true; done
	for process in $watcher $server; do wait "$process" 2>/dev/null || true; done
	if [ $status -ne 0 ] && [ -s "$work/server.log" ]; then
		echo "${red}The demo failed; the server's last words:${plain}" >&2
		tail -20 "$work/server.log" >&2
	fi
	rm -rf "$work"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
fail() { printf '%s!! %s%s\n' "$red" "$*" "$plain" >&2; exit 1; }

# prompt shows a command as one would type it.
prompt() {
	local word
	printf '%s$' "$dim"
	for word in "$@"; do
		case $word in *[\ \>]*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac
	done
	printf '%s\n' "$plain"
}

# show runs a command under the eyes of the reader and keeps what it says in $work/out.
show() {
	prompt "$@"
	"$@" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err" >&2; fail "that should have worked"; }
	sed 's/^/    /' "$work/err"
	if [ "$(wc -l <"$work/out")" -gt 12 ]; then
		sed 's/^/    /' "$work/out" | sed 8q
		echo "    ... and $(($(wc -l <"$work/out") - 8)) lines more"
	else
		sed -e 's/^/    /' -e '$a\' "$work/out" # the last line ends, also where it is a bare value
	fi
}

# expect checks that what the last command said, or a file, matches a pattern.
expect() { grep -Eq -- "$1" "${2:-$work/out}" || fail "expected to see: $1"; }

# expect_lines checks how many lines the last command said.
expect_lines() { [ "$(wc -l <"$work/out")" -eq "$1" ] || fail "expected $1 lines, got $(wc -l <"$work/out")"; }

# await polls for a condition, at most 15 seconds.
await() {
	local what=$1 deadline=$((SECONDS + 15))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || fail "waited in vain for $what"
		[ -z "$server" ] || kill -0 "$server" 2>/dev/null || fail "the server stopped"
		sleep 0.05
	done
}

rollcall() { "$rollcall" "$@"; }

if command -v dig >/dev/null; then
	lookup() { dig +short +time=2 +tries=2 -p "${dns##*:}" "@${dns%:*}" "$2" "$1"; }
else
	go build -o "$work/lookup" ./test/demo/lookup
	lookup() { "$work/lookup" "$dns" "$1" "$2"; }
fi

say "One server, with everything in it"
"$rollcall" serve --name demo --data "$work/data" --http 127.0.0.1:0 --raft 127.0.0.1:0 --nats 127.0.0.1:0 \
	--dns 127.0.0.1:0 >"$work/server.log" 2>&1 &
server=$!
await "the server to be ready" test -s "$work/data/endpoints.json"
endpoint() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$work/data/endpoints.json"; }
dns=$(endpoint dns)
ROLLCALL_SERVER=http://$(endpoint http)
export ROLLCALL_SERVER
echo "    HTTP $(endpoint http)   NATS $(endpoint nats)   DNS $dns"

say "A fleet's configuration: one document, one key for each leaf, one transaction"
show rollcall kv import $track/config.json --prefix fleet --reason "moving in"
expect '^[0-9]+ keys written, 0 deleted'
show rollcall kv get fleet/databases/orders/pool/max
expect '^40'
rollcall kv export fleet >"$work/config.json"
show rollcall kv import "$work/config.json" --prefix fleet --replace
expect 'nothing to change'
echo "    (what comes out is what went in)"

say "Its services"
show rollcall service register --file $track/services.json --reason "moving in"
expect '^69 instances of 25 services'
moved=$(sed -n 's/.*at revision \([0-9]*\)$/\1/p' "$work/out")
show rollcall service list payments
expect_lines 3

say "Anything that speaks DNS finds them"
arrived() { lookup A storefront.service.rollcall.internal | grep -q .; }
await "the names to arrive" arrived
show lookup A storefront.service.rollcall.internal
expect_lines 4
show lookup A green.storefront.service.rollcall.internal
expect_lines 1
expect '^10\.20\.1\.12$'
show lookup SRV payments.service.rollcall.internal
expect_lines 3
expect '^1 1 8087 payments-2\.payments\.instance\.rollcall\.internal\.$'

say "A subscriber hears of a change as it is made"
prompt rollcall watch "kv.fleet.features.>" --from "$moved" \&
"$rollcall" watch "kv.fleet.features.>" --from "$moved" >"$work/watch" 2>&1 &
watcher=$!
show rollcall kv put fleet/features/new-checkout/percent 5 --content-type application/json --reason "too many declined cards"
await "the subscriber to hear of it" grep -q new-checkout "$work/watch"
printf '%sthe subscriber saw:%s\n' "$dim" "$plain"
sed 's/^/    /' "$work/watch"
expect 'fleet/features/new-checkout/percent: "100" → "5" +\(too many declined cards\)' "$work/watch"

say "Two people change the same limit: one of them is told"
show rollcall kv put fleet/limits/global/requests_per_second 6000 --if-value 4500 --content-type application/json
prompt rollcall kv put fleet/limits/global/requests_per_second 3000 --if-value 4500
if rollcall kv put fleet/limits/global/requests_per_second 3000 --if-value 4500 >"$work/out" 2>&1; then
	fail "the second one should have been refused"
fi
sed 's/^/    /' "$work/out"
expect 'condition-failed'

say "An instance leaves, and with it its name"
show rollcall service deregister payments --id payments-2 --reason "disk errors on its host"
gone() { ! lookup SRV payments.service.rollcall.internal | grep -q payments-2; }
await "DNS to forget payments-2" gone
show lookup SRV payments.service.rollcall.internal
expect_lines 2

say "The ledger remembers: what, when and why"
show rollcall log --from $((moved + 1))
expect_lines 3
expect 'percent: "100" → "5".*too many declined cards'
expect 'requests_per_second: "4500" → "6000"'
expect 'deregister +payments/payments-2.*disk errors'
show rollcall kv get fleet/features/new-checkout/percent --at "$moved"
expect '^100$'
show rollcall service list payments --at "$moved"
expect_lines 3

say "That was Rollcall: a registry that remembers."
