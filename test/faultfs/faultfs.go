// Package faultfs is a file system whose writes fail when a test says so: either before they have had their effect, or
// after it. Both are for whoever asked the same error, and a program has to be right whichever it was.
package faultfs

import (
	"errors"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrInjected is what fails.
var ErrInjected = errors.New("injected")

// Fault is what happens to an operation that changes the file system.
type Fault int

// What may happen.
const (
	Works        Fault = iota
	NotApplied         // it fails and has had no effect
	ButItApplied       // it fails and has had its effect
)

// FS asks before every operation that changes the file system what is to become of it.
type FS struct {
	vfs.FS
	mu  *sync.Mutex
	ask func(op string) Fault
}

// New makes one, in which everything works until Arm is called.
func New(on vfs.FS) *FS { return &FS{FS: on, mu: new(sync.Mutex)} }

// do does an operation, or not.
func (f *FS) do(op string, apply func() error) error {
	f.mu.Lock()
	ask := f.ask
	f.mu.Unlock()
	what := Works
	if ask != nil {
		what = ask(op)
	}
	switch what {
	case NotApplied:
		return ErrInjected
	case ButItApplied:
		return errors.Join(apply(), ErrInjected)
	}
	return apply()
}

// Arm sets what is asked from now on.
func (f *FS) Arm(ask func(op string) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ask = ask
}

// file wraps what do has opened. Where it failed there is no file, as with a real one.
func (f *FS) file(op string, open func() (vfs.File, error)) (vfs.File, error) {
	var opened vfs.File
	err := f.do(op, func() (err error) {
		opened, err = open()
		return err
	})
	if err != nil {
		if opened != nil {
			_ = opened.Close()
		}
		return nil, err
	}
	return &faultyFile{opened, f, op}, nil
}

// Create implements vfs.FS.
func (f *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("create "+name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

// OpenReadWrite implements vfs.FS.
func (f *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.file("open for writing "+name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

// ReuseForWrite implements vfs.FS.
func (f *FS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("reuse "+newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

// OpenDir implements vfs.FS.
func (f *FS) OpenDir(name string) (vfs.File, error) {
	d, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{d, f, "folder " + name}, nil
}

// Link implements vfs.FS.
func (f *FS) Link(oldname, newname string) error {
	return f.do("link "+newname, func() error { return f.FS.Link(oldname, newname) })
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	return f.do("remove "+name, func() error { return f.FS.Remove(name) })
}

// RemoveAll implements vfs.FS.
func (f *FS) RemoveAll(name string) error {
	return f.do("remove all of "+name, func() error { return f.FS.RemoveAll(name) })
}

// Rename implements vfs.FS.
func (f *FS) Rename(oldname, newname string) error {
	return f.do("rename "+oldname, func() error { return f.FS.Rename(oldname, newname) })
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(dir string, perm os.FileMode) error {
	return f.do("make "+dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

type faultyFile struct {
	vfs.File
	fs *FS
	op string
}

// Write implements vfs.File.
func (f *faultyFile) Write(p []byte) (n int, err error) {
	err = f.fs.do("write: "+f.op, func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

// Sync implements vfs.File.
func (f *faultyFile) Sync() error { return f.fs.do("sync: "+f.op, f.File.Sync) }

// SyncData implements vfs.File.
func (f *faultyFile) SyncData() error { return f.fs.do("sync data: "+f.op, f.File.SyncData) }

// SyncTo implements vfs.File.
func (f *faultyFile) SyncTo(n int64) (full bool, err error) {
	err = f.fs.do("sync to: "+f.op, func() (err error) {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, err
}

// Close implements vfs.File.
func (f *faultyFile) Close() error { return f.fs.do("close: "+f.op, f.File.Close) }
