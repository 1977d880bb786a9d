package main

import "errors"

type serveCmd struct{}

// Run says that this build is the client alone.
func (serveCmd) Run() error { return errors.New("serve: this build holds no server") }
