package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall/rollcall/client"
)

// virtual is a client of a server without a network, in virtual time.
func virtual(t *testing.T, answer func(*http.Request) (*http.Response, error)) *client.Client {
	t.Helper()
	return must(client.New(client.Options{Servers: []string{"http://a"}, HTTPClient: &http.Client{Transport: transport(answer)}}))(t)
}

const sessionTTL = 20 * time.Second

// sessionServer answers what has to do with one session; fails says whether a keepalive does, by the time since the start.
func sessionServer(began time.Time, calls *[]string, keep func(r *http.Request, at time.Duration) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/keepalive") {
			return keep(r, time.Since(began))
		}
		*calls = append(*calls, r.Method)
		if r.Method == http.MethodPost {
			return answerOf(201, "application/json", `{"id":"7","ttl":"20s","revision":7}`), nil
		}
		return answerOf(200, "application/json", `{"revision":8}`), nil
	}
}

// The context of a session ends before the server may give away what it held, by when the last confirmed keepalive was sent.
func TestLiveSessionIsLostInTime(t *testing.T) {
	fine := func() (*http.Response, error) { return answerOf(200, "application/json", `{"ttl":"20s"}`), nil }
	for _, tt := range []struct {
		name   string
		keep   func(r *http.Request, at time.Duration) (*http.Response, error)
		lostAt time.Duration
	}{
		{"nobody answers", func(r *http.Request, _ time.Duration) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, sessionTTL - time.Second},
		{"the answer comes late", func(_ *http.Request, at time.Duration) (*http.Response, error) {
			if at > 30*time.Second {
				return nil, errors.New("broken")
			}
			<-time.After(3 * time.Second) // so the whole TTL counts from before that
			return fine()
		}, 0},
		{"it has ended", func(_ *http.Request, at time.Duration) (*http.Response, error) {
			if at < 39*time.Second {
				return fine()
			}
			return answerOf(404, "application/problem+json", `{"code":"not-found"}`), nil
		}, 40 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var calls []string
				sent := began
				c := virtual(t, sessionServer(began, &calls, func(r *http.Request, at time.Duration) (*http.Response, error) {
					asked := time.Now()
					a, err := tt.keep(r, at)
					if err == nil && a.StatusCode == 200 {
						sent = asked
					}
					return a, err
				}))
				l := must(c.OpenSession(t.Context(), client.SessionOptions{TTL: sessionTTL}))(t)
				if l.ID != "7" || l.Err() != nil {
					t.Errorf("got session %q (%v)", l.ID, l.Err())
				}
				<-l.Context().Done()
				at := time.Since(began)
				lost, ok := errors.AsType[*client.LostError](context.Cause(l.Context()))
				if !ok || lost.Session != "7" || !errors.Is(l.Err(), lost) {
					t.Errorf("got %v", context.Cause(l.Context()))
				}
				if tt.lostAt > 0 && at.Round(time.Second) != tt.lostAt || time.Since(sent) >= sessionTTL {
					t.Errorf("lost after %v, %v after the last keepalive that was confirmed had been sent; want %v", at, time.Since(sent), tt.lostAt)
				}
				if err := l.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A process that stood still finds its session lost in Err at once, whichever of its timers have had their turn.
func TestLiveSessionOfAProcessThatStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		stuck := make(chan struct{})
		c := virtual(t, sessionServer(time.Now(), &calls, func(*http.Request, time.Duration) (*http.Response, error) {
			<-stuck // what hears of nothing, not even that it is cancelled
			return answerOf(200, "application/json", `{"ttl":"20s"}`), nil
		}))
		l := must(c.OpenSession(t.Context(), client.SessionOptions{TTL: sessionTTL}))(t)
		<-time.After(sessionTTL - time.Second - time.Millisecond)
		if err := l.Err(); err != nil {
			t.Errorf("lost too early: %v", err)
		}
		<-time.After(time.Millisecond)
		if _, ok := errors.AsType[*client.LostError](l.Err()); !ok {
			t.Errorf("got %v", l.Err())
		}
		close(stuck)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// It lives for as long as its holder wants, and ends when it is closed, or when its context ends, by itself.
func TestLiveSessionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		kept := 0
		c := virtual(t, sessionServer(time.Now(), &calls, func(*http.Request, time.Duration) (*http.Response, error) {
			kept++
			return answerOf(200, "application/json", `{"ttl":"20s"}`), nil
		}))
		l := must(c.OpenSession(t.Context(), client.SessionOptions{TTL: sessionTTL}))(t)
		<-time.After(time.Hour)
		if err := l.Err(); err != nil || kept < 500 || kept > 600 {
			t.Errorf("kept alive %d times in an hour: %v", kept, err)
		}
		if err := l.Close(t.Context()); err != nil || !errors.Is(l.Err(), client.ErrSessionClosed) || l.Context().Err() == nil {
			t.Errorf("got %v and %v", err, l.Err())
		}
		if got := strings.Join(calls, " "); got != "POST DELETE" {
			t.Errorf("got %s", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		other := must(c.OpenSession(ctx, client.SessionOptions{TTL: sessionTTL}))(t)
		cancel()
		<-other.Context().Done()
		synctest.Wait()
		before := kept
		<-time.After(time.Hour)
		if !errors.Is(other.Err(), context.Canceled) || kept != before {
			t.Errorf("got %v, and it is still kept alive: %v", other.Err(), kept != before)
		}
	})
}
