package log

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAttemptsRest asks what is refused at once, as it is while a replica starts: it must be asked again until the time is
// up, and not as fast as the machine can, which in virtual time would never end.
func TestAttemptsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		asked := 0
		err := (&group{}).attempts(ctx, func(context.Context) error {
			if asked++; asked > 10_000 {
				return errors.New("asked again and again")
			}
			return ErrUnavailable
		})
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want %v", err, ErrUnavailable)
		}
		if least, most := 10, int(5*time.Second/retryWithNoLeader)+1; asked < least || asked > most {
			t.Errorf("asked %d times in 5 s, want %d to %d", asked, least, most)
		}
	})
}
