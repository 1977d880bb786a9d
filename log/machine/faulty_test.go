package machine_test

import (
	"errors"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var errInjected = errors.New("injected")

// fault is what happens to an operation that changes the file system.
type fault int

const (
	works        fault = iota
	notApplied         // it fails and has had no effect
	butItApplied       // it fails and has had its effect
)

// faultyFS asks ask before every operation that changes the file system what is to become of it.
type faultyFS struct {
	vfs.FS
	mu  *sync.Mutex
	ask func(op string) fault
}

func newFaultyFS(on vfs.FS) *faultyFS { return &faultyFS{FS: on, mu: new(sync.Mutex)} }

// do does an operation, or not.
func (f *faultyFS) do(op string, apply func() error) error {
	f.mu.Lock()
	ask := f.ask
	f.mu.Unlock()
	what := works
	if ask != nil {
		what = ask(op)
	}
	switch what {
	case notApplied:
		return errInjected
	case butItApplied:
		return errors.Join(apply(), errInjected)
	}
	return apply()
}

// arm sets what is asked from now on.
func (f *faultyFS) arm(ask func(op string) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ask = ask
}

// file wraps what do has opened. Where it failed there is no file, as with a real one.
func (f *faultyFS) file(op string, open func() (vfs.File, error)) (vfs.File, error) {
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

func (f *faultyFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("create "+name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *faultyFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.file("open for writing "+name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *faultyFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("reuse "+newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *faultyFS) OpenDir(name string) (vfs.File, error) {
	d, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{d, f, "folder " + name}, nil
}

func (f *faultyFS) Link(oldname, newname string) error {
	return f.do("link "+newname, func() error { return f.FS.Link(oldname, newname) })
}

func (f *faultyFS) Remove(name string) error {
	return f.do("remove "+name, func() error { return f.FS.Remove(name) })
}

func (f *faultyFS) RemoveAll(name string) error {
	return f.do("remove all of "+name, func() error { return f.FS.RemoveAll(name) })
}

func (f *faultyFS) Rename(oldname, newname string) error {
	return f.do("rename "+oldname, func() error { return f.FS.Rename(oldname, newname) })
}

func (f *faultyFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.do("make "+dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

type faultyFile struct {
	vfs.File
	fs *faultyFS
	op string
}

func (f *faultyFile) Write(p []byte) (n int, err error) {
	err = f.fs.do("write: "+f.op, func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

func (f *faultyFile) Sync() error { return f.fs.do("sync: "+f.op, f.File.Sync) }

func (f *faultyFile) SyncData() error { return f.fs.do("sync data: "+f.op, f.File.SyncData) }

func (f *faultyFile) SyncTo(n int64) (full bool, err error) {
	err = f.fs.do("sync to: "+f.op, func() (err error) {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, err
}

func (f *faultyFile) Close() error { return f.fs.do("close: "+f.op, f.File.Close) }
