#!/bin/sh
# requests.sh NATS: reads and writes as requests. Every operation of /openapi.json is one, below rollcall-api.{namespace}.
set -eu
api() { nats --server "$NATS" request --raw "rollcall-api.default.$1" "$2"; }
NATS=$1

api kv.put '{"key":"app/greeting","value":"hello","if":[{"exists":false}]}'
api kv.get '{"key":"app/greeting"}'
api kv.put '{"key":"app/greeting","value":"hello again","if":[{"exists":false}]}' # refused: the answer is a problem
api kv.list '{"prefix":"app/"}'
api instances.put '{"service":"web","id":"web-1","address":"10.0.0.1","port":80}'
api services.get '{"service":"web"}'
nats --server "$NATS" micro list # who serves it
