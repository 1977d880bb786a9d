#!/bin/sh
# live.sh NATS: what happens from now on, for looking at.
exec nats --server "$1" subscribe 'rollcall.default.kv.app.>'
