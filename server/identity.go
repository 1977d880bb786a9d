package server

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/rollcall/rollcall/log/store"
)

// identity is what a server remembers of itself from its first start on. It stands in the data folder, and is
// written once, before anything else.
type identity struct {
	Name    string `json:"name"`
	Cluster string `json:"cluster"` // the id of the cluster that this server's first start made
	Replica uint64 `json:"replica"` // its number in every Raft group
	Raft    string `json:"raft"`    // HOST:PORT under which the groups know it
	Groups  uint64 `json:"groups"`
}

const identityFile = "server.json"

// lockFolder makes the data folder and holds it against other servers, until the lock is closed or the process ends.
func lockFolder(data string) (io.Closer, error) {
	if err := store.MakeDir(store.DefaultFS, data); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := store.DefaultFS.Lock(filepath.Join(data, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("the data folder %s is in use by another server, or cannot be locked: %w", data, err)
	}
	return lock, nil
}

// identify reads the identity from the data folder, or makes one. What the configuration says otherwise than the
// folder is refused: the groups' logs hold the old.
func identify(c *Config) (identity, error) {
	path := filepath.Join(c.Data, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newIdentity(c, path)
	}
	if err != nil {
		return identity{}, fmt.Errorf("read the server's identity: %w", err)
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil {
		return identity{}, fmt.Errorf("read the server's identity %s: %w", path, err)
	}
	return id, id.check(c)
}

func (id identity) check(c *Config) error {
	if c.Groups != 0 && c.Groups != id.Groups {
		return fmt.Errorf("groups %d: the data in %s was made with %d, which cannot be changed", c.Groups, c.Data, id.Groups)
	}
	if id.Name != c.Name {
		return fmt.Errorf("name %q: the data in %s belongs to server %q", c.Name, c.Data, id.Name)
	}
	_, port, err := net.SplitHostPort(c.Raft)
	if err == nil && port != "0" && c.Raft != id.Raft {
		return fmt.Errorf("raft %s: the groups know this server as %s; start it with that address", c.Raft, id.Raft)
	}
	return nil
}

func newIdentity(c *Config, path string) (identity, error) {
	id := identity{Name: c.Name, Replica: 1, Raft: c.Raft, Groups: c.Groups}
	if id.Groups == 0 {
		id.Groups = DefaultGroups
	}
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return identity{}, fmt.Errorf("make a cluster id: %w", err)
	}
	id.Cluster = hex.EncodeToString(random)
	var err error
	if id.Raft, err = fixPort(c.Raft); err != nil {
		return identity{}, err
	}
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return identity{}, err
	}
	if err := store.WriteFile(store.DefaultFS, path, append(b, '\n')); err != nil {
		return identity{}, fmt.Errorf("write the server's identity: %w", err)
	}
	return id, nil
}

// fixPort replaces port 0 by one that is free now, because Raft must know its address before it listens. Any other it
// tries: what cannot be listened on must not become the server's address for good.
func fixPort(address string) (string, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("listen for Raft on %s: %w", address, err)
	}
	if port != "0" {
		return address, l.Close()
	}
	return l.Addr().String(), l.Close()
}

// Endpoints say where a server listens. They are written to endpoints.json in the data folder once it is ready.
type Endpoints struct {
	HTTP string `json:"http"`
	Raft string `json:"raft"`
	NATS string `json:"nats"`
	DNS  string `json:"dns"`
}

const endpointsFile = "endpoints.json"

func writeEndpoints(data string, e Endpoints) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return store.WriteFile(store.DefaultFS, filepath.Join(data, endpointsFile), append(b, '\n'))
}
