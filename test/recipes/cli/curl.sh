#!/bin/sh
# curl.sh HTTP SUBJECT REVISION: events behind a revision, and then live, as server-sent events. Each has its revision as id.
exec curl -fsSN -H 'Accept: text/event-stream' -H "Last-Event-ID: $3" "$1/v1/default/events?subject=$2"
