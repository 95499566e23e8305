// SPDX-License-Identifier: Apache-2.0

// Package childproc starts a process that answers each JSON object on its input with one on its output. It can
// be stopped while nobody asks it, so that processes that are compared do not disturb each other.
package childproc

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Process is the parent's side. Its methods are for one goroutine at a time.
type Process struct {
	name string
	cmd  *exec.Cmd // nil: there are only in and out
	in   io.WriteCloser
	out  *json.Decoder
}

// Over talks to a child that is no process, over its input and output.
func Over(name string, in io.WriteCloser, out io.Reader) *Process {
	return &Process{name: name, in: in, out: json.NewDecoder(out)}
}

// Start starts cmd, which prints on its parent's standard error. It is killed when its parent dies, because a
// child that is stopped would not see its input end; a cmd with a SysProcAttr of its own is spared that.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	cmd.Stderr = os.Stderr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := Over(name, in, out)
	p.cmd = cmd
	return p, nil
}

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ask sends a request and waits for the reply.
func (p *Process) Ask(req, reply any) error {
	b, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return p.Receive(reply)
}

// Receive waits for what the child says of itself, which is its first reply.
func (p *Process) Receive(reply any) error {
	if err := p.out.Decode(reply); err != nil {
		return fmt.Errorf("the process of %s ended: %w", p.name, err)
	}
	return nil
}

// Freeze stops the child's every thread until Thaw: what a child leaves undone (garbage collection, memory
// that goes back to the system) would be done at the cost of the next one. It is done at the child's own
// cost, at the beginning of its next turn.
func (p *Process) Freeze() error {
	if err := p.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	// Until it has stopped, or has ended, which the next request tells.
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// Thaw lets a frozen child run on.
func (p *Process) Thaw() error {
	if err := p.cmd.Process.Signal(unix.SIGCONT); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Stop ends the child, frozen or not, by closing its input, and returns how it ended.
func (p *Process) Stop() error {
	_ = p.Thaw()
	_ = p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}
