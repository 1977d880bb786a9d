//go:build !unix

package probe

import (
	"context"

	"github.com/rollcall/rollcall/log/event"
)

func (p *Prober) command(context.Context, []string, event.Instance) Result {
	if !p.Commands {
		return critical("commands are not enabled", commandsOff)
	}
	return critical("commands are not enabled", "commands are not run by a server on this operating system")
}
