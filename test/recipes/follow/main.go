// Command follow prints every event of a subject, once and in order, over restarts of itself and of the servers.
//
//	follow SERVERS NAMESPACE SUBJECT FILE
//
// FILE keeps the revision that was printed last.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type follower struct {
	servers, namespace, subject, file string
	seen                              uint64 // the revision up to which everything was handled
}

func main() {
	if len(os.Args) != 5 {
		fail(errors.New("usage: follow SERVERS NAMESPACE SUBJECT FILE"))
	}
	f := follower{servers: os.Args[1], namespace: os.Args[2], subject: os.Args[3], file: os.Args[4]}
	if b, err := os.ReadFile(f.file); err == nil {
		if f.seen, err = strconv.ParseUint(string(b), 10, 64); err != nil {
			fail(err)
		}
	}
	for {
		err := f.connect(context.Background())
		fmt.Fprintf(os.Stderr, "at revision %d: %v; going on in a moment\n", f.seen, err)
		time.Sleep(time.Second)
	}
}

// connect follows over one connection, to whichever server answers first.
func (f *follower) connect(ctx context.Context) error {
	nc, err := nats.Connect(f.servers, nats.NoReconnect(), nats.PingInterval(5*time.Second))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, "rollcall_"+f.namespace)
	if err != nil {
		return err
	}
	if err := f.fill(ctx, nc, stream); err != nil {
		return err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.seen + 1,
		FilterSubjects: []string{"rollcall." + f.namespace + "." + f.subject},
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for nc.IsConnected() {
		m, err := messages.Next(jetstream.NextMaxWait(5 * time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			continue
		}
		if err != nil {
			return err
		}
		at, err := m.Metadata()
		if err != nil {
			return err
		}
		if revision := at.Sequence.Stream; revision > f.seen+1 {
			// What is between is of other subjects, unless this reader is so slow that it has left the stream.
			if err := f.fill(ctx, nc, stream); err != nil {
				return err
			}
			if revision <= f.seen {
				continue
			}
		}
		if err := f.handle(m.Data(), at.Sequence.Stream); err != nil {
			return err
		}
	}
	return nats.ErrConnectionClosed
}

// fill asks the ledger for what the stream does not hold any more.
func (f *follower) fill(ctx context.Context, nc *nats.Conn, stream jetstream.Stream) error {
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	for last := info.State.FirstSeq - 1; f.seen < last; {
		question, err := json.Marshal(map[string]any{"from": f.seen + 1, "to": last, "subject": f.subject, "limit": 1000})
		if err != nil {
			return err
		}
		answer, err := nc.RequestWithContext(ctx, "rollcall-api."+f.namespace+".events", question)
		if err != nil {
			return err
		}
		if problem := answer.Header.Get("Nats-Service-Error"); problem != "" {
			return errors.New(problem)
		}
		var page struct {
			Events []json.RawMessage
			Next   uint64
		}
		if err := json.Unmarshal(answer.Data, &page); err != nil {
			return err
		}
		for _, event := range page.Events {
			var e struct {
				Revision uint64 `json:",string"`
			}
			if err := json.Unmarshal(event, &e); err != nil {
				return err
			}
			if err := f.handle(event, e.Revision); err != nil {
				return err
			}
		}
		f.seen = last
		if page.Next > 0 {
			f.seen = page.Next - 1
		}
	}
	return nil
}

// handle does what is to be done, and writes down that it was done. Where both must happen or none, keep the revision where
// the work is kept, in one transaction.
func (f *follower) handle(event []byte, revision uint64) error {
	var e struct{ Type, Subject string }
	if err := json.Unmarshal(event, &e); err != nil {
		return err
	}
	fmt.Println(revision, e.Type, e.Subject)
	f.seen = revision
	if err := os.WriteFile(f.file+".new", []byte(strconv.FormatUint(revision, 10)), 0o600); err != nil {
		return err
	}
	return os.Rename(f.file+".new", f.file)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
