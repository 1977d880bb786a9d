package main

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

// build is what is known about this binary.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source
	Time     string `json:"time,omitempty"`     // of that revision
	Modified bool   `json:"modified,omitempty"` // the source was changed since
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	return b
}

type versionCmd struct{}

// Help teaches by example.
func (versionCmd) Help() string {
	return `Examples:

    rollcall version
    rollcall version --json`
}

// Run says which build this is.
func (versionCmd) Run(s *session) error {
	b := thisBuild()
	if s.JSON {
		return s.line(b)
	}
	parts := []string{"rollcall", b.Version}
	if b.Revision != "" {
		at := b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			at += " (modified)"
		}
		parts = append(parts, at)
	}
	return s.sayf("%s", strings.Join(append(parts, b.Go, b.Platform), " "))
}
