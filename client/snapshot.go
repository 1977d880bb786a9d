package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Snapshot writes a snapshot of the whole cluster to w: every ledger and view of every namespace, with everything in
// it that was acknowledged before the call. It gives the number of bytes. Where it fails, what was written is not
// whole; the file ends in a checksum, which "rollcall snapshot inspect" checks.
func (c *Client) Snapshot(ctx context.Context, w io.Writer) (n int64, err error) {
	r := newRequest(http.MethodGet, "v1/_system/snapshot")
	err = c.retry(ctx, r, func(at int) error {
		response, err := c.send(ctx, r, at)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode >= 300 {
			body, err := io.ReadAll(io.LimitReader(response.Body, problemBytesMax))
			if err != nil {
				return &brokenError{false, err}
			}
			return newProblem(response, c.servers[at].String(), body)
		}
		if n, err = io.Copy(w, response.Body); err != nil {
			// Part of it has been written, so it cannot be asked for again elsewhere.
			return fmt.Errorf("the snapshot of %s broke off after %d bytes: %w", c.servers[at], n, err)
		}
		return nil
	})
	return n, err
}
