package store

import (
	"errors"
	"io"
	iofs "io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	breaks "github.com/rollcall/rollcall/fault" // fault is this package's own word
)

// FS is the file system that a store lives on: the operating system's, or a simulated one in a test.
type FS = vfs.FS

// DefaultFS is the operating system's file system.
var DefaultFS FS = vfs.Default

// Cache holds blocks of the tables of several stores.
type Cache = pebble.Cache

// NewCache makes a cache of a size in bytes. Unref it after use.
func NewCache(bytes int64) *Cache { return pebble.NewCache(bytes) }

// ReadFile gives a small file's bytes; nil when there is no such file.
func ReadFile(fs FS, path string) (_ []byte, err error) {
	f, err := fs.Open(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, 4096))
}

// WriteFile replaces a file so that after a crash either the old or the new bytes are there: write a new file,
// sync it, rename it over the old one, sync the folder.
func WriteFile(fs FS, path string, b []byte) (err error) {
	next := path + ".next"
	f, err := fs.Create(next, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	breaks.Point(breaks.FileRename)
	if err := fs.Rename(next, path); err != nil {
		return err
	}
	breaks.Point(breaks.FileRenamed)
	dir, err := fs.OpenDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// MakeDir makes a folder and those above it, so that they are there after a loss of power as well: a folder's name
// is kept by the folder above, which must be synced for it.
//
// An earlier attempt may have made a folder and failed to sync its name. So they are made from the top, each one's name
// is synced before there is a next, and that of the last one that is there already is synced again.
func MakeDir(fs FS, path string) error {
	var missing []string
	last := path
	for ; last != filepath.Dir(last); last = filepath.Dir(last) {
		if _, err := fs.Stat(last); err == nil {
			break
		}
		missing = append(missing, last)
	}
	// Who may not look into the folder above, or finds it on a file system that syncs no folders or takes no writes, as
	// above a mount point, has not made this one.
	if err := syncName(fs, last); err != nil && !slices.ContainsFunc(
		[]error{iofs.ErrPermission, syscall.EINVAL, syscall.ENOTSUP, syscall.EROFS},
		func(harmless error) bool { return errors.Is(err, harmless) }) {
		return err
	}
	for _, dir := range slices.Backward(missing) {
		if err := fs.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		if err := syncName(fs, dir); err != nil {
			return err
		}
	}
	return nil
}

// syncName makes the name of a folder survive a loss of power.
func syncName(fs FS, path string) error {
	above := filepath.Dir(path)
	if above == path {
		return nil
	}
	dir, err := fs.OpenDir(above)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// NewMemFS is a file system in memory, for what is thrown away afterwards.
func NewMemFS() FS { return vfs.NewMem() }
