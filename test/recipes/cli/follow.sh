#!/bin/sh
# follow.sh NATS HTTP NAMESPACE SUBJECT FILE: prints every event of a subject, over restarts of itself and of the server. FILE
# keeps the revision that was printed last.
set -eu
nats=$1 http=$2 namespace=$3 subject=$4 file=$5

print() {
	while IFS= read -r event; do
		revision=$(printf '%s' "$event" | sed -n 's/^.*"revision":"\([0-9]*\)","commit".*$/\1/p')
		[ -n "$revision" ] || continue # an empty line
		printf '%s\n' "$event"
		echo "$revision" >"$file.new" && mv "$file.new" "$file"
	done
}

[ -e "$file" ] || echo 0 >"$file"
while :; do
	next=$(($(cat "$file") + 1))
	first=$(nats --server "$nats" stream info "rollcall_$namespace" --json 2>/dev/null |
		sed -n 's/^.*"first_seq": *\([0-9]*\).*$/\1/p' | tail -n 1) || first=
	if [ -z "$first" ]; then # no server there: once more in a moment
		sleep 1
		continue
	fi
	if [ "$first" -gt "$next" ]; then # what the stream does not hold any more
		curl -fsS --get "$http/v1/$namespace/events" --data "from=$next" --data "to=$((first - 1))" --data-urlencode "subject=$subject" | print
		next=$first
	fi
	# It ends when nothing has come for a while: a server that was restarted knows nothing of it.
	nats --server "$nats" subscribe --raw --wait 5s --stream "rollcall_$namespace" --start-sequence "$next" \
		"rollcall.$namespace.$subject" 2>/dev/null | print || sleep 1
done
