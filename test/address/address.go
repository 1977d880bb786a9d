// Package address finds addresses for the processes that tests start, kill and start again at the same place.
//
// A port that the kernel picks will not do for that: whatever it picks from, it also gives to every outgoing connection, and so
// to somebody else while a server is down. These ports are below those, and processes that run side by side draw them from
// different places.
package address

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// Ports from first on are used: places*each of them, which ends below 32768, where Linux begins to give them away (others later).
const (
	first  = 10_000
	places = 44
	each   = 500
)

var drawn atomic.Int64

// Free gives a loopback address at which nobody listens, and which is not given again soon.
func Free(t testing.TB) string {
	t.Helper()
	for range each {
		port := first + os.Getpid()%places*each + int(drawn.Add(1)%each)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue // somebody else's
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	t.Fatalf("none of %d ports is free", each)
	return ""
}
