package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
)

// TestUntilAvailable repeats what Raft could not do yet, or may have done, and nothing else.
func TestUntilAvailable(t *testing.T) {
	for name, c := range map[string]struct {
		errs  []error // of the attempts
		tried int
		want  error
	}{
		"at once":                        {nil, 1, nil},
		"no leader, then one":            {[]error{gateway.ErrUnavailable, fmt.Errorf("x: %w", gateway.ErrUnavailable)}, 3, nil},
		"nobody knows, then it is known": {[]error{gateway.ErrOutcomeUnknown}, 2, nil},
		"too much waits":                 {[]error{gateway.ErrBusy}, 2, nil},
		"a fault":                        {[]error{gateway.ErrUnavailable, http.ErrBodyNotAllowed}, 2, http.ErrBodyNotAllowed},
		"a refusal":                      {[]error{context.Canceled}, 1, context.Canceled},
	} {
		tried := 0
		err := untilAvailable(t.Context(), time.Second, func(context.Context) error {
			tried++
			if tried > len(c.errs) {
				return nil
			}
			return c.errs[tried-1]
		})
		if !errors.Is(err, c.want) || tried != c.tried {
			t.Errorf("%s: %v after %d attempts, want %v after %d", name, err, tried, c.want, c.tried)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := untilAvailable(ctx, time.Hour, func(context.Context) error {
		cancel()
		return gateway.ErrUnavailable
	})
	if !errors.Is(err, gateway.ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
	// An attempt that nobody answers ends, and is made again.
	attempts := 0
	err = untilAvailable(t.Context(), time.Millisecond, func(attempt context.Context) error {
		if attempts++; attempts == 3 {
			return nil
		}
		<-attempt.Done()
		return gateway.ErrOutcomeUnknown
	})
	if err != nil || attempts != 3 {
		t.Errorf("%v after %d attempts", err, attempts)
	}
}

// TestKeysBeforeTheirVersion refuses idempotency keys while the cluster has not come to the version that keeps them, and
// takes the same request without one.
func TestKeysBeforeTheirVersion(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	var said journal
	s, _ := startAlone(t, &said)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.version.Store(commands.VersionFirst)
	put := gateway.Request{Key: "once", Command: commands.PutKey{Key: "k", Value: []byte("v")}}
	_, err := s.Submit(t.Context(), "default", put)
	var p *gateway.Problem
	if !errors.As(err, &p) || p.Code != gateway.CodeVersionNotReached || !strings.Contains(p.Detail, "version 1") {
		t.Fatalf("a key at version 1: %v", err)
	}
	err = s.stale("default", func(v gateway.View) error {
		if _, ok := v.Key("k"); ok {
			t.Error("what was refused is there")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	put.Key = ""
	if _, err := s.Submit(t.Context(), "default", put); err != nil {
		t.Errorf("without a key: %v", err)
	}
	s.version.Store(commands.VersionKeys)
	put.Key = "once"
	if _, err := s.Submit(t.Context(), "default", put); err != nil {
		t.Errorf("a key at the version that keeps it: %v", err)
	}
}

// TestVersionsAtOnce has many hear of versions at the same time: the folder remembers the highest.
func TestVersionsAtOnce(t *testing.T) {
	s := &Server{config: Config{Data: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}}
	var wg sync.WaitGroup
	for v := range uint32(32) {
		wg.Go(func() {
			if err := s.noteVersion(v); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if id, _, err := readIdentity(s.config.Data); err != nil || id.Version != 31 {
		t.Errorf("the folder remembers version %d, want 31: %v", id.Version, err)
	}
}
