package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// The peer beside which figures are quoted: one etcd server with its own defaults, in a process of its own, spoken to
// through its own client, on the same disk.

// serveEtcd is the process: it runs etcd in a folder and prints the client's address.
func serveEtcd(dir string) error {
	c := embed.NewConfig()
	c.Dir, c.LogLevel = dir, "error"
	free := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenClientUrls, c.AdvertiseClientUrls = free, free
	c.ListenPeerUrls, c.AdvertisePeerUrls = free, free
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer e.Close()
	<-e.Server.ReadyNotify()
	fmt.Println(e.Clients[0].Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	return nil
}

// etcd is a running peer.
type etcd struct {
	cmd    *exec.Cmd
	client *clientv3.Client
}

func startEtcd(dir string) (*etcd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := &etcd{cmd: exec.Command(self, "-serve-etcd", dir)}
	e.cmd.Stderr = os.Stderr
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.cmd.Start(); err != nil {
		return nil, err
	}
	address := make([]byte, 64)
	n, err := out.Read(address)
	if err != nil {
		return nil, errors.Join(err, e.stop())
	}
	e.client, err = clientv3.New(clientv3.Config{
		Endpoints: []string{strings.TrimSpace(string(address[:n]))}, DialTimeout: 10 * time.Second,
		Logger: zap.NewNop(), // what goes wrong is in the figures
	})
	if err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

func (e *etcd) stop() error {
	var err error
	if e.client != nil {
		err = e.client.Close()
	}
	return errors.Join(err, e.cmd.Process.Kill(), ignoreExit(e.cmd.Wait()))
}

// ignoreExit forgets that a process that was killed did not end well.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func (e *etcd) put(ctx context.Context, key string, value []byte) error {
	_, err := e.client.Put(ctx, key, string(value))
	return err
}
