//go:build unix

package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/rollcall/rollcall/log/event"
)

// drainTime is how long what a program wrote may take to arrive when the program is gone.
const drainTime = 500 * time.Millisecond

// command runs a program without a shell, in a process group of its own that is gone when it returns. As with Nagios and
// Consul, 0 passes, 1 warns, and anything else is critical.
func (p *Prober) command(ctx context.Context, args []string, instance event.Instance) Result {
	if !p.Commands {
		return critical("commands are not enabled", commandsOff)
	}
	said := &head{}
	cmd := exec.Command(args[0], args[1:]...) // not with ctx: it is the whole group that has to end
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = "/", said, said, drainTime
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = []string{ // none of the server's own, which may hold secrets
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8",
		"ROLLCALL_SERVICE=" + instance.Service, "ROLLCALL_INSTANCE=" + instance.ID,
		"ROLLCALL_ADDRESS=" + instance.Address, "ROLLCALL_PORT=" + strconv.Itoa(int(instance.Port)),
	}
	if err := cmd.Start(); err != nil {
		return critical("command cannot be run", err.Error())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
		killGroup(cmd) // what it may have left behind
	case <-ctx.Done():
		killGroup(cmd)
		err = <-ended
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return critical(reasonTimeout, said.String())
		}
		return critical("command was stopped", errors.Join(ctx.Err(), err).Error())
	}
	return exitOf(cmd, err, said.String())
}

// killGroup ends every process of a command's group. A number is not given again while a group bears it, so that it
// meets nobody else.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // none may be left
}

func exitOf(cmd *exec.Cmd, err error, said string) Result {
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran && !errors.Is(err, exec.ErrWaitDelay) {
		return critical("command cannot be run", err.Error())
	}
	code := cmd.ProcessState.ExitCode()
	r := Result{event.Critical, fmt.Sprintf("command exit %d", code), said}
	switch code {
	case 0:
		r.Status = event.Passing
	case 1:
		r.Status = event.Warning
	case -1:
		r.Reason = "command ended by a signal"
	}
	if said == "" {
		r.Output = r.Reason
	}
	return r
}
