package log_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/machine"
)

// TestCloseWhileAsked closes a log that is asked everything meanwhile: nothing panics, and nobody waits for long.
func TestCloseWhileAsked(t *testing.T) {
	l := open(t, config(t))
	member, err := l.Membership(deadline(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	asks := map[string]func(context.Context) error{
		"submit": func(ctx context.Context) error {
			_, err := l.Submit(ctx, 1, machine.Command{Ledger: "one", Time: 1, Body: []byte("a")})
			return err
		},
		"barrier":    func(ctx context.Context) error { return l.Barrier(ctx, 1) },
		"membership": func(ctx context.Context) error { _, err := l.Membership(ctx, 1); return err },
		"remove":     func(ctx context.Context) error { return l.RemoveReplica(ctx, 1, 9, member) },
		"compact":    l.Compact,
		"others": func(context.Context) error {
			l.Wake(2)
			_, _ = l.Leader(1), l.Held()
			if len(l.Voters()) == 0 || !l.Ready() {
				return log.ErrClosed
			}
			return nil
		},
	}
	var asked, ended sync.WaitGroup
	ctx := deadline(t)
	for name, ask := range asks {
		asked.Add(1)
		ended.Go(func() {
			once := sync.OnceFunc(asked.Done)
			for {
				err := ask(ctx)
				once()
				if errors.Is(err, log.ErrClosed) {
					return
				}
				if ctx.Err() != nil {
					t.Errorf("%s: never learnt that the log is closed; last: %v", name, err)
					return
				}
			}
		})
	}
	asked.Wait()
	began := time.Now()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	ended.Wait()
	if took := time.Since(began); took > time.Minute { // and not as long as whoever asks would wait
		t.Errorf("it took %s", took)
	}
}
