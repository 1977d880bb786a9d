package client

import (
	"context"
	"fmt"
	"io"
)

// Snapshot writes a snapshot of the whole cluster to w: every ledger and view of every namespace, with everything in
// it that was acknowledged before the call. It gives the number of bytes. Where it fails, what was written is not
// whole; the file ends in a checksum, which "rollcall snapshot inspect" checks. It comes over HTTP alone, so one of the
// client's servers must be an http:// one.
func (c *Client) Snapshot(ctx context.Context, w io.Writer) (n int64, err error) {
	r := systemRequest("snapshot")
	err = c.retry(ctx, r, func(s *server) error {
		response, err := c.openAt(ctx, r, s)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if n, err = io.Copy(w, response.Body); err != nil {
			// Part of it has been written, so it cannot be asked for again elsewhere.
			return fmt.Errorf("the snapshot of %s broke off after %d bytes: %w", s.name, n, err)
		}
		return nil
	})
	return n, err
}
