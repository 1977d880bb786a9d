// Command read prints all keys below a prefix as they are at one revision, and keeps that revision in FILE, from where
// the command follow goes on without gap or repeat.
//
//	read SERVERS NAMESPACE PREFIX FILE
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

func main() {
	if len(os.Args) != 5 {
		fail(errors.New("usage: read SERVERS NAMESPACE PREFIX FILE"))
	}
	nc, err := nats.Connect(os.Args[1])
	if err != nil {
		fail(err)
	}
	defer nc.Close()
	revision, err := read(nc, os.Args[2], os.Args[3])
	if err != nil {
		fail(err)
	}
	if err := os.WriteFile(os.Args[4], []byte(strconv.FormatUint(revision, 10)), 0o600); err != nil {
		fail(err)
	}
}

// read prints page after page, all of the revision of the first.
func read(nc *nats.Conn, namespace, prefix string) (revision uint64, err error) {
	question := map[string]any{"prefix": prefix, "limit": 500}
	for {
		b, err := json.Marshal(question)
		if err != nil {
			return 0, err
		}
		m, err := nc.Request("rollcall-api."+namespace+".kv.list", b, 5*time.Second)
		if err != nil {
			return 0, err
		}
		if problem := m.Header.Get("Nats-Service-Error"); problem != "" {
			return 0, errors.New(problem)
		}
		var page struct {
			Revision uint64
			Entries  []struct{ Key, Value string }
			Next     string
		}
		if err := json.Unmarshal(m.Data, &page); err != nil {
			return 0, err
		}
		for _, e := range page.Entries {
			fmt.Printf("%s=%s\n", e.Key, e.Value)
		}
		if page.Next == "" {
			return page.Revision, nil
		}
		question["at"], question["after"] = page.Revision, page.Next
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
