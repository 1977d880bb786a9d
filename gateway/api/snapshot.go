package api

import (
	"context"
	"net/http"
	"time"
)

func snapshotOperation() operation {
	return operation{
		id: "snapshot", method: http.MethodGet, path: "/v1/_system/snapshot", group: "cluster", stream: true,
		summary: "Save every ledger and view in one file",
		about: "Everything that was acknowledged before the request is in it, in every namespace; writes go on meanwhile. " +
			"`Rollcall-Revision` is of _system's ledger. The file ends in a checksum of all before, without which it is not whole: " +
			"`rollcall snapshot inspect` checks it, `rollcall snapshot restore` makes a data folder of it.",
		answers: []answer{{status: 200, about: "The file", as: []representation{{"application/octet-stream", nil}}}},
		handle:  getSnapshot,
	}
}

func getSnapshot(c *call) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.api.RequestTimeout)
	defer cancel()
	s, err := c.api.Backend.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			c.api.Logger.ErrorContext(c.ctx, "cannot let go of a snapshot", "error", err)
		}
	}()
	c.shows(s.Head())
	out := c.startStream("application/octet-stream")
	if c.r.Method == http.MethodHead {
		return nil
	}
	writing, stop := context.WithCancel(c.ctx)
	defer stop()
	defer context.AfterFunc(c.api.Streams, func() {
		_ = out.control.SetWriteDeadline(time.Now().Add(drainTimeout))
		stop()
	})()
	err = out.flush() // the head goes out at once: what breaks off later has a status
	if err == nil {
		err = s.Write(c.w, writing.Done())
	}
	if err != nil {
		c.broken("a snapshot", err)
	}
	return nil
}
