package chaos

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// flip kills a server, changes one bit of what it has stored, and starts it. It may notice and not start, or fail later:
// then it is wiped, as its operator would do. What it must not do is answer with it.
func (t *trouble) flip(s *server) func() {
	s.kill()
	path, err := t.flipBit(s.data)
	if err != nil {
		t.errs = append(t.errs, fmt.Errorf("flip a bit of %s: %w", s.name, err))
	}
	t.logf("flipped a bit of %s", path)
	s.start()
	return func() {
		_ = eventually("up again, or not", 5*time.Second, func() bool { return s.ended() || s.ready() })
		t.logf("with the bit flipped, %s is ready: %t, ended: %t", s.name, s.ready(), s.ended())
		s.kill()
		if err := os.RemoveAll(s.data); err != nil {
			t.errs = append(t.errs, err)
		}
		s.start()
	}
}

// flipBit changes one bit of a table, a log of Pebble's or a log of Raft's.
func (t *trouble) flipBit(data string) (string, error) {
	var files []string
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "/nats/") {
			return err
		}
		if ext := filepath.Ext(path); ext == ".sst" || ext == ".log" {
			if info, err := d.Info(); err == nil && info.Size() > 0 {
				files = append(files, path)
			}
		}
		return nil
	})
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no file with a bit to flip in %s: %w", data, err)
	}
	slices.Sort(files)
	path := files[t.random.IntN(len(files))]
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	at := t.random.IntN(len(b))
	b[at] ^= 1 << t.random.IntN(8)
	return fmt.Sprintf("%s, byte %d of %d", strings.TrimPrefix(path, data), at, len(b)), os.WriteFile(path, b, 0o600)
}
