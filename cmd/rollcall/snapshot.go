package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rollcall/rollcall/server"
)

type snapshotCmd struct {
	Save    snapshotSaveCmd    `cmd:"" help:"Save all ledgers and views of a running cluster in a file."`
	Inspect snapshotInspectCmd `cmd:"" help:"Check a snapshot, and say what it holds."`
	Restore snapshotRestoreCmd `cmd:"" help:"Make a data folder of a snapshot, for the first server of a new cluster."`
}

type snapshotSaveCmd struct {
	File  string `arg:"" help:"File to make; - is standard output."`
	Force bool   `help:"Replace the file where there is one."`
}

// Help implements kong.HelpProvider.
func (snapshotSaveCmd) Help() string {
	return `Everything that was acknowledged before the command began is in it, in every namespace. Writes go on meanwhile. The file
appears under its name once it is whole, checked and on disk.

    rollcall snapshot save rollcall-$(date +%F).snapshot
    rollcall snapshot save - | ssh backup 'cat > rollcall.snapshot'`
}

// Run saves a snapshot.
func (c snapshotSaveCmd) Run(ctx context.Context, s *session) error {
	if c.File == "-" {
		return c.stream(ctx, s)
	}
	if _, err := os.Stat(c.File); !errors.Is(err, os.ErrNotExist) && !c.Force {
		return errors.Join(fmt.Errorf("%s is there already: give another name, or --force to replace it", c.File), err)
	}
	next := c.File + ".tmp"
	info, err := c.save(ctx, s, next)
	if err != nil {
		return errors.Join(err, removeIfThere(next))
	}
	if err := os.Rename(next, c.File); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(c.File)); err != nil {
		return err
	}
	return showSnapshot(s, c.File, info)
}

// save writes a snapshot into a file, has it on disk, and checks what is there.
func (c snapshotSaveCmd) save(ctx context.Context, s *session, path string) (info server.SnapshotInfo, err error) {
	cl, err := s.client()
	if err != nil {
		return info, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // it holds every value there is
	if err != nil {
		return info, err
	}
	_, err = cl.Snapshot(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return info, err
	}
	return server.InspectSnapshot(ctx, path)
}

// stream writes a snapshot to standard output. It is checked on its way, so that the exit status says whether it was
// whole.
func (c snapshotSaveCmd) stream(ctx context.Context, s *session) error {
	cl, err := s.client()
	if err != nil {
		return err
	}
	read, write := io.Pipe()
	checked := make(chan error, 1)
	go func() {
		_, err := server.CheckSnapshot(ctx, read)
		checked <- errors.Join(err, read.CloseWithError(err))
	}()
	out := bufio.NewWriter(s.stdout)
	_, err = cl.Snapshot(ctx, io.MultiWriter(out, write))
	if err == nil {
		err = out.Flush()
	}
	return errors.Join(err, write.CloseWithError(err), <-checked)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type snapshotInspectCmd struct {
	File string `arg:"" help:"Snapshot to look at."`
}

// Help implements kong.HelpProvider.
func (snapshotInspectCmd) Help() string {
	return `Every checksum in the file is checked, and every Merkle root against the events.

    rollcall snapshot inspect rollcall.snapshot
    rollcall snapshot inspect --json rollcall.snapshot`
}

// Run inspects a snapshot.
func (c snapshotInspectCmd) Run(ctx context.Context, s *session) error {
	info, err := server.InspectSnapshot(ctx, c.File)
	if err != nil {
		return err
	}
	return showSnapshot(s, c.File, info)
}

// showSnapshot tells what a snapshot holds.
func showSnapshot(s *session, file string, info server.SnapshotInfo) error {
	if s.JSON {
		return s.line(info)
	}
	err := s.sayf("%s: %d bytes, SHA-256 %s\nTaken %s of cluster %s (%d groups). Every checksum is right.",
		file, info.Bytes, info.Checksum, info.Taken.Format(time.RFC3339), info.Cluster, info.Groups)
	if err != nil {
		return err
	}
	rows := [][]string{{"NAMESPACE", "GROUP", "REVISION", "EVENTS", "ROOT"}}
	for _, l := range info.Ledgers {
		rows = append(rows, []string{l.Namespace, fmt.Sprint(l.Group), fmt.Sprint(l.Revision), fmt.Sprint(l.Events), l.Root})
	}
	if err := table(s.stdout, rows); err != nil {
		return err
	}
	for _, namespace := range info.NotOpen {
		if err := s.sayf("%s was being made, and has no events yet.", namespace); err != nil {
			return err
		}
	}
	return nil
}

type snapshotRestoreCmd struct {
	File string `arg:"" help:"Snapshot to restore."`
	Data string `env:"ROLLCALL_DATA" default:"rollcall-data" placeholder:"DIR" help:"Data folder to make; it must hold nothing. By default ./rollcall-data."`
	Name string `env:"ROLLCALL_NAME" placeholder:"NAME" help:"The server's name; by default the host's."`
	Raft string `env:"ROLLCALL_RAFT" placeholder:"HOST:PORT" help:"The server's listener for the other servers; by default 127.0.0.1:7601."`

	RevisionJump uint64 `default:"1000000" placeholder:"N" help:"How many revisions every ledger leaves out; by default 1000000."`
}

// Help implements kong.HelpProvider.
func (snapshotRestoreCmd) Help() string {
	return `The folder is that of a new cluster of one server, which the others join. Nothing runs meanwhile.

Every ledger goes on where the snapshot ends, after a jump: its next event, rollcall.namespace.restored, says which
revisions are left out. So whoever has seen a revision of the old cluster never sees a lower one here, or another event
under its number, as long as no ledger got more than the jump's number of events after the snapshot was taken. Give a
larger --revision-jump where one may have.

    rollcall snapshot restore rollcall.snapshot --data /var/lib/rollcall
    rollcall serve --data /var/lib/rollcall`
}

// Run restores a snapshot.
func (c snapshotRestoreCmd) Run(ctx context.Context, s *session) error {
	if c.RevisionJump == 0 {
		return misusef("--revision-jump 0: it must be at least 1")
	}
	info, err := server.Restore(ctx, server.RestoreConfig{File: c.File, Data: c.Data, Name: c.Name, Raft: c.Raft, Jump: c.RevisionJump})
	if err != nil {
		return err
	}
	if err := showSnapshot(s, c.File, info); err != nil || s.JSON {
		return err
	}
	return s.sayf("Restored into %s. Every ledger leaves out %d revisions and goes on behind them: right as long as none got more\n"+
		"events than that after the snapshot was taken. Of namespaces, the highest revisions so covered are:\n%s"+
		"Start it with: rollcall serve --data %s", c.Data, c.RevisionJump, covered(info, c.RevisionJump), c.Data)
}

// covered lists the highest revision of each namespace that a new event cannot fall below.
func covered(info server.SnapshotInfo, jump uint64) (text string) {
	for _, l := range info.Ledgers {
		text += fmt.Sprintf("  %s  %d\n", l.Namespace, uint64(l.Revision)+jump)
	}
	return text
}
