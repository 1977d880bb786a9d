#!/bin/sh
# follow.sh NATS HTTP NAMESPACE SUBJECT FILE: prints every event of a subject, over restarts of itself and of the server. FILE
# keeps the revision up to which everything was printed.
set -eu
nats=$1 http=$2 namespace=$3 subject=$4 file=$5

# first is the first revision that the stream holds; nothing where no server is there.
first() {
	nats --server "$nats" stream info "rollcall_$namespace" --json 2>/dev/null |
		sed -n 's/^.*"first_seq": *\([0-9]*\).*$/\1/p' | tail -n 1
}

next() { echo $(($(cat "$file") + 1)); }
seen() { echo "$1" >"$file.new" && mv "$file.new" "$file"; }

# print prints events that come next; $1 tells whether one may follow on the one before.
print() {
	while IFS= read -r event; do
		revision=$(printf '%s' "$event" | sed -n 's/^.*"revision":"\([0-9]*\)","commit".*$/\1/p')
		[ -n "$revision" ] && [ "$revision" -ge "$(next)" ] || continue # an empty line, or one that was printed
		"$1" "$revision" || return 1
		printf '%s\n' "$event"
		seen "$revision"
	done
}

# whole looks whether what is between was of other subjects, and has not left the stream before this reader got there.
whole() { [ "$1" -eq "$(next)" ] || [ "$(first)" -le "$(next)" ] 2>/dev/null; }

[ -e "$file" ] || echo 0 >"$file"
while :; do
	begin=$(first)
	if [ -z "$begin" ]; then # no server there: once more in a moment
		sleep 1
		continue
	fi
	if [ "$begin" -gt "$(next)" ]; then # what the stream does not hold any more, all of it or once more in a moment
		if curl -fsS --get "$http/v1/$namespace/events" --data "from=$(next)" --data "to=$((begin - 1))" \
			--data-urlencode "subject=$subject" >"$file.gap"; then
			print true <"$file.gap"
			seen $((begin - 1))
		else
			sleep 1
			continue
		fi
	fi
	# It ends when nothing has come for a while: a server that was restarted knows nothing of it.
	nats --server "$nats" subscribe --raw --wait 5s --stream "rollcall_$namespace" --start-sequence "$(next)" \
		"rollcall.$namespace.$subject" 2>/dev/null | print whole || sleep 1
done
