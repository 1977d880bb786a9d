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
	"strings"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/store"
)

// identity is what a server remembers of itself from the moment on at which it belongs to a cluster. It stands in the
// data folder, and is written before anything else but the nonce.
type identity struct {
	Name    string `json:"name"`
	Nonce   string `json:"nonce"`   // tells this data folder from any other that bears the name
	Cluster string `json:"cluster"` // the id of the cluster
	Replica uint64 `json:"replica"` // its number in every Raft group
	Raft    string `json:"raft"`    // HOST:PORT under which the groups know it
	Groups  uint64 `json:"groups"`
	// Version is the highest version of the decisions that the cluster is known to have come to.
	Version uint32 `json:"version,omitempty"`
	// Founders are the servers that the cluster began with; none where this one joined it later.
	Founders []founder `json:"founders,omitempty"`
	// Restored is where the data came from, where that is a snapshot.
	Restored *restored `json:"restored,omitempty"`
}

// founder is a server that a cluster begins with.
type founder struct {
	Name    string `json:"name"`
	Nonce   string `json:"nonce"`
	Replica uint64 `json:"replica"`
	Raft    string `json:"raft"`
	Version uint32 `json:"version,omitempty"` // of the decisions, which it knows
}

// replicas are the founders' addresses by number, as Raft wants them.
func (id identity) replicas() map[uint64]string {
	if len(id.Founders) == 0 {
		return nil
	}
	all := map[uint64]string{}
	for _, f := range id.Founders {
		all[f.Replica] = f.Raft
	}
	return all
}

// What stands in a data folder.
const (
	identityFile = "server.json"
	lockFile     = "LOCK"
	groupsFolder = "groups" // as package log names it
)

// lockFolder makes the data folder and holds it against other servers, until the lock is closed or the process ends.
func lockFolder(data string) (io.Closer, error) {
	if err := store.MakeDir(store.DefaultFS, data); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := store.DefaultFS.Lock(filepath.Join(data, lockFile))
	if err != nil {
		return nil, fmt.Errorf("the data folder %s is in use by another server, or cannot be locked: %w", data, err)
	}
	return lock, nil
}

// readIdentity reads the identity from a data folder; ok is false where there is none yet.
func readIdentity(data string) (id identity, ok bool, err error) {
	path := filepath.Join(data, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, false, nil
	}
	if err != nil {
		return identity{}, false, fmt.Errorf("read the server's identity: %w", err)
	}
	if err := json.Unmarshal(b, &id); err != nil {
		return identity{}, false, fmt.Errorf("read the server's identity %s: %w", path, err)
	}
	if len(id.Founders) == 0 && id.Nonce == "" { // written by a version that knew single servers only
		id.Nonce = id.Cluster
		id.Founders = []founder{{Name: id.Name, Nonce: id.Nonce, Replica: id.Replica, Raft: id.Raft}}
	}
	return id, true, nil
}

func (id identity) write(data string) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := store.WriteFile(store.DefaultFS, filepath.Join(data, identityFile), append(b, '\n')); err != nil {
		return fmt.Errorf("write the server's identity: %w", err)
	}
	return nil
}

// nonceFile holds the nonce of a folder whose server belongs to no cluster yet. It is durable before anybody is told
// of it, so that a server which comes back with another one has lost its data.
const nonceFile = "nonce"

func readNonce(data string) (string, error) {
	path := filepath.Join(data, nonceFile)
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the folder's nonce: %w", err)
	}
	nonce, err := randomID()
	if err != nil {
		return "", err
	}
	if err := store.WriteFile(store.DefaultFS, path, []byte(nonce+"\n")); err != nil {
		return "", fmt.Errorf("write the folder's nonce: %w", err)
	}
	return nonce, nil
}

func randomID() (string, error) {
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return hex.EncodeToString(random), nil
}

// check refuses what the configuration says otherwise than the folder: the groups' logs hold the old.
func (id identity) check(c *Config) error {
	if id.Version > commands.Version {
		return errTooOld(c.Data, id.Version)
	}
	if c.Groups != 0 && c.Groups != id.Groups {
		return fmt.Errorf("groups %d: the data in %s was made with %d, which cannot be changed", c.Groups, c.Data, id.Groups)
	}
	if id.Name != c.Name {
		return fmt.Errorf("name %q: the data in %s belongs to server %q", c.Name, c.Data, id.Name)
	}
	if given := c.advertised(); !isFreePort(given) && given != id.Raft {
		return fmt.Errorf("raft %s: the groups know this server as %s; start it with that address", given, id.Raft)
	}
	return nil
}

func isFreePort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0"
}

// stoppedFile is there while the server is not running and was not killed.
const stoppedFile = "stopped"

func noteStopped(data string) error {
	return store.WriteFile(store.DefaultFS, filepath.Join(data, stoppedFile), nil)
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
