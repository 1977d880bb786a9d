package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/rollcall/rollcall/client"
	"github.com/rollcall/rollcall/gateway/api"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
)

// newExample is a client of a server of its own. A program calls client.New with the addresses of its servers.
func newExample() (c *client.Client, end func()) {
	streams, stop := context.WithCancel(context.Background())
	server := httptest.NewServer(api.New(api.Config{
		Backend: gatewaytest.New("example"), Logger: slog.New(slog.DiscardHandler), Streams: streams,
	}))
	transport := &http.Transport{}
	c, err := client.New(client.Options{Servers: []string{server.URL}, HTTPClient: &http.Client{Transport: transport}})
	check(err)
	return c, func() {
		stop()
		transport.CloseIdleConnections()
		server.Close()
	}
}

// check stands for what a program does about an error.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A write goes ahead only while the key is as it was read.
func ExampleClient_Put() {
	c, end := newExample()
	defer end()
	ctx := context.Background()

	made, err := c.Put(ctx, "app/greeting", []byte("hello"), client.IfAbsent())
	check(err)
	_, err = c.Put(ctx, "app/greeting", []byte("good day"), client.IfRevision(made.Revision))
	check(err)
	_, err = c.Put(ctx, "app/greeting", []byte("good night"), client.IfRevision(made.Revision))
	fmt.Println(errors.Is(err, client.ErrConditionFailed))

	e, err := c.Get(ctx, "app/greeting")
	check(err)
	fmt.Printf("%s, version %d\n", e.Value, e.Version)
	// Output:
	// true
	// good day, version 2
}

// All of a transaction happens, in one commit, or nothing of it.
func ExampleClient_Txn() {
	c, end := newExample()
	defer end()
	ctx := context.Background()

	result, err := c.Txn(ctx, client.Txn{
		If: []client.Condition{client.KeyExists("leader", false)},
		Then: []client.Operation{
			{Put: &client.PutKey{Key: "leader", Value: []byte("a")}},
			{Put: &client.PutKey{Key: "term", Value: []byte("1")}},
		},
		Else: []client.Operation{{Get: client.Key("leader")}},
	})
	check(err)
	fmt.Println(result.Succeeded, len(result.Results))
	// Output: true 2
}

// What is there, and then everything that happens to it, without a gap: the events begin behind the revision of the list.
func ExampleClient_Watch() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	_, err := c.Put(ctx, "app/a", []byte("1"))
	check(err)

	page, err := c.ListPage(ctx, "app/", "", 1000)
	check(err)
	for _, e := range page.Entries {
		fmt.Printf("%s is %s\n", e.Key, e.Value)
	}
	_, err = c.Put(ctx, "app/b", []byte("2"))
	check(err)
	for e, err := range c.Watch(ctx, "kv.app.>", page.Revision+1) {
		check(err)
		fmt.Println(e.Type, e.Subject)
		break
	}
	// Output:
	// app/a is 1
	// rollcall.kv.put kv.app.b
}

// A cache answers from memory, and always with what was there at one revision.
func ExampleClient_CacheKeys() {
	c, end := newExample()
	defer end()
	ctx := context.Background()

	cache, err := c.CacheKeys(ctx, "app/")
	check(err)
	defer cache.Close()
	written, err := c.Put(ctx, "app/url", []byte("postgres://db"))
	check(err)
	check(cache.WaitRevision(ctx, written.Revision)) // to read one's own write
	for e := range cache.State().All("app/") {
		fmt.Printf("%s is %s\n", e.Key, e.Value)
	}
	// Output: app/url is postgres://db
}

// The first update is all that is there, and each one behind it a commit.
func ExampleKeyCache_Changes() {
	c, end := newExample()
	defer end()
	ctx := context.Background()
	_, err := c.Put(ctx, "app/a", nil)
	check(err)
	cache, err := c.CacheKeys(ctx, "app/")
	check(err)
	defer cache.Close()

	for update := range cache.Changes(ctx, nil) {
		for _, change := range update.Changes {
			fmt.Println(change.Key, change.Entry != nil)
		}
		if update.State.Len() == 0 {
			break
		}
		_, err = c.Delete(ctx, "app/a")
		check(err)
	}
	// Output:
	// app/a true
	// app/a false
}

// An instance is announced by the program that runs it, and found by the ones that use it.
func ExampleClient_Announce() {
	c, end := newExample()
	defer end()
	ctx := context.Background()

	a, err := c.Announce(ctx, client.Instance{Service: "web", ID: "web-1", Address: "10.0.0.1", Port: 80}, client.AnnounceOptions{})
	check(err)
	web, err := c.CacheService(ctx, "web")
	check(err)
	defer web.Close()
	if i, ok := web.Pick(); ok {
		fmt.Printf("%s:%d\n", i.Address, i.Port)
	}

	check(a.Close(ctx))
	check(web.Sync(ctx))
	_, ok := web.Pick()
	fmt.Println(ok)
	// Output:
	// 10.0.0.1:80
	// false
}

// A lock is a key that ends with a session. Its holder works only while the session's context lasts.
func ExampleClient_OpenSession() {
	c, end := newExample()
	defer end()
	ctx := context.Background()

	session, err := c.OpenSession(ctx, client.SessionOptions{TTL: 15 * time.Second, OnEnd: client.DeleteKeys})
	check(err)
	_, err = c.Put(ctx, "lock", nil, client.IfAbsent(), client.InSession(session.ID))
	check(err)
	work := func(ctx context.Context) { fmt.Println("working", ctx.Err() == nil) }
	work(session.Context())

	check(session.Close(ctx))
	_, err = c.Get(ctx, "lock")
	fmt.Println(errors.Is(err, client.ErrNotFound), context.Cause(session.Context()))
	// Output:
	// working true
	// true the session was closed
}

// Read, change and write, again where somebody else has written meanwhile.
func ExampleUpdate() {
	c, end := newExample()
	defer end()
	ctx := context.Background()

	type settings struct{ Replicas int }
	for range 2 {
		s, _, err := client.Update(ctx, c, "app/settings", func(s settings, exists bool) (settings, error) {
			s.Replicas++
			return s, nil
		})
		check(err)
		fmt.Println(s.Replicas)
	}
	// Output:
	// 1
	// 2
}
