package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/rollcall/rollcall/client"
)

const watchedSubject = "rollcall.default.kv.bench.>"

// door is etcd's watch. Watches with one context share one stream of gRPC on their connection.
func (e *etcd) door() door {
	return door{
		name: "etcd", pid: e.cmd.Process.Pid,
		connect: func(takers []taker) (func(), error) {
			c, err := clientv3.New(clientv3.Config{Endpoints: e.client.Endpoints(), DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithCancel(context.Background())
			for _, take := range takers {
				changes := c.Watch(ctx, watchedKey)
				go func() {
					for answer := range changes {
						for _, e := range answer.Events {
							take(e.Kv.Value)
						}
					}
				}()
			}
			return func() { cancel(); _ = c.Close() }, nil
		},
		put: func(ctx context.Context, value []byte) error { return e.put(ctx, watchedKey, value) },
	}
}

// doors are Rollcall's. All are written to by requests over NATS.
func (s *server) doors(requests call) []door {
	put := func(ctx context.Context, value []byte) error { return requests(ctx, watchedKey, value) }
	each := []door{
		{name: "nats", connect: s.subscribe},
		{name: "client", connect: s.follow},
		{name: "ordered", connect: s.consume},
		{name: "sse", connect: s.stream, lone: true},
	}
	for i := range each {
		each[i].pid, each[i].put = s.cmd.Process.Pid, put
	}
	return each
}

// requests puts by requests of a stock NATS client, all on one connection.
func (s *server) requests() (call, func(), error) {
	nc, err := nats.Connect("nats://" + s.NATS)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, key string, value []byte) error {
		body, err := json.Marshal(struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		}{key, string(value)})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		answer, err := nc.RequestWithContext(ctx, "rollcall-api.default.kv.put", body)
		if err != nil {
			return err
		}
		if status := answer.Header.Get("Rollcall-Status"); status != "200" && status != "201" {
			return fmt.Errorf("put %s: %s %s", key, answer.Header.Get("Nats-Service-Error"), answer.Data)
		}
		return nil
	}, nc.Close, nil
}

// subscribe is a plain subscription of a stock NATS client.
func (s *server) subscribe(takers []taker) (func(), error) {
	nc, err := nats.Connect("nats://" + s.NATS)
	if err != nil {
		return nil, err
	}
	for _, take := range takers {
		if _, err := nc.Subscribe(watchedSubject, func(m *nats.Msg) { take(m.Data) }); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return nc.Close, nc.Flush()
}

// consume is JetStream's ordered consumer of a stock NATS client.
func (s *server) consume(takers []taker) (func(), error) {
	nc, err := nats.Connect("nats://" + s.NATS)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, take := range takers {
		c, err := js.OrderedConsumer(ctx, "rollcall_default", jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{watchedSubject}, DeliverPolicy: jetstream.DeliverNewPolicy,
		})
		if err == nil {
			_, err = c.Consume(func(m jetstream.Msg) { take(m.Data()) })
		}
		if err != nil {
			nc.Close()
			return nil, err
		}
	}
	return nc.Close, nil
}

// client is one of the client library, over NATS.
func (s *server) client() (*client.Client, error) {
	return client.New(client.Options{Servers: []string{"nats://" + s.NATS}})
}

// follow is the client library's Watch.
func (s *server) follow(takers []taker) (func(), error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	for _, take := range takers {
		go func() {
			for e, err := range c.Watch(ctx, "kv.bench.>", 0) {
				if err != nil {
					return // what it does not receive is counted
				}
				take(e.Data)
			}
		}()
	}
	return func() { cancel(); c.Close() }, nil
}

// stream is SSE, as curl would read it.
func (s *server) stream(takers []taker) (func(), error) {
	ctx, cancel := context.WithCancel(context.Background())
	for _, take := range takers {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTP+"/v1/default/events?subject=kv.bench.%3E", nil)
		if err != nil {
			cancel()
			return nil, err
		}
		r.Header.Set("Accept", "text/event-stream")
		answer, err := (&http.Client{Transport: &http.Transport{}}).Do(r)
		if err != nil {
			cancel()
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			cancel()
			return nil, errors.Join(fmt.Errorf("events: %s", answer.Status), answer.Body.Close())
		}
		go func() {
			defer func() { _ = answer.Body.Close() }()
			lines := bufio.NewScanner(answer.Body)
			for lines.Scan() {
				if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:")); ok {
					take(data)
				}
			}
		}()
	}
	return cancel, nil
}
