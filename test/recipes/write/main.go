// Command write changes a key only while nobody else has, with requests over NATS.
//
//	write SERVERS NAMESPACE KEY VALUE
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

func main() {
	if len(os.Args) != 5 {
		fail(errors.New("usage: write SERVERS NAMESPACE KEY VALUE"))
	}
	nc, err := nats.Connect(os.Args[1])
	if err != nil {
		fail(err)
	}
	defer nc.Close()
	namespace, key, value := os.Args[2], os.Args[3], os.Args[4]

	// A key that is not there is at revision 0, for a condition too.
	var before struct{ Revision uint64 }
	status, err := request(nc, namespace, "kv.get", map[string]any{"key": key}, &before)
	if err != nil && status != "404" {
		fail(err)
	}
	var after struct{ Revision uint64 }
	status, err = request(nc, namespace, "kv.put", map[string]any{
		"key": key, "value": value, "if": []any{map[string]any{"revision": before.Revision}},
	}, &after)
	if status == "412" {
		fail(fmt.Errorf("somebody else has changed %s: %w", key, err))
	}
	if err != nil {
		fail(err)
	}
	fmt.Printf("%s went from revision %d to %d\n", key, before.Revision, after.Revision)
}

// request makes one, and gives its status.
func request(nc *nats.Conn, namespace, operation string, body, answer any) (status string, err error) {
	b, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	m, err := nc.Request("rollcall-api."+namespace+"."+operation, b, 5*time.Second)
	if err != nil {
		return "", err
	}
	status = m.Header.Get("Rollcall-Status")
	if problem := m.Header.Get("Nats-Service-Error"); problem != "" {
		return status, fmt.Errorf("%s: %s", status, problem)
	}
	return status, json.Unmarshal(m.Data, answer)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
