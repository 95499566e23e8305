// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/bench/internal/peers"
)

// reader is the driver's side of a child.
type reader struct {
	name    string
	backend string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
}

// startReader starts exe as a child that is confined to so many CPUs, and waits until its reader is open.
func startReader(ctx context.Context, exe, name string, cfg childConfig, cpus int) (*reader, error) {
	cmd := exec.CommandContext(ctx, exe, "child", cfg.Dir, cfg.Peer, strconv.Itoa(cfg.Files), strconv.Itoa(cfg.Callers))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL} // a stopped child would not see its input end
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(cpus))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startOn(cmd, cpus); err != nil {
		return nil, err
	}
	r := &reader{name: name, cmd: cmd, in: in, out: json.NewDecoder(out)}
	var hello reply
	if err := r.receive(&hello); err != nil {
		r.stop()
		return nil, err
	}
	r.backend = hello.Backend
	return r, r.freeze()
}

// freeze stops the child's every thread until thaw: what a reader leaves undone (garbage collection, memory
// that goes back to the system) would be done at the cost of the next one. It is done at the reader's own
// cost, at the beginning of its next visit.
func (r *reader) freeze() error {
	if err := r.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	// Until it has stopped, or has ended, which the next request tells.
	for {
		err := unix.Waitid(unix.P_PID, r.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

func (r *reader) thaw() error { return r.cmd.Process.Signal(unix.SIGCONT) }

// startOn starts cmd with an affinity to the last CPUs (the first serve most interrupts), which a process
// inherits from the thread that starts it.
func startOn(cmd *exec.Cmd, cpus int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, some unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	for cpu := len(all)*64 - 1; cpu >= 0 && some.Count() < cpus; cpu-- {
		if all.IsSet(cpu) {
			some.Set(cpu)
		}
	}
	if some.Count() < cpus {
		return fmt.Errorf("%d CPUs are wanted, %d are usable", cpus, some.Count())
	}
	if err := unix.SchedSetaffinity(0, &some); err != nil {
		return err
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &all))
}

// ask thaws the child for one request.
func (r *reader) ask(req request) (reply, error) {
	if err := r.thaw(); err != nil {
		return reply{}, fmt.Errorf("%s: %w", r.name, err)
	}
	rep, err := r.exchange(req)
	return rep, errors.Join(err, r.freeze())
}

func (r *reader) exchange(req request) (reply, error) {
	b, err := json.Marshal(req)
	if err != nil {
		return reply{}, err
	}
	if _, err := r.in.Write(append(b, '\n')); err != nil {
		return reply{}, fmt.Errorf("%s: %w", r.name, err)
	}
	var rep reply
	err = r.receive(&rep)
	return rep, err
}

func (r *reader) receive(rep *reply) error {
	if err := r.out.Decode(rep); err != nil {
		return fmt.Errorf("the process of %s ended: %w", r.name, err)
	}
	switch {
	case rep.Fell:
		return fmt.Errorf("%w: %s", peers.ErrBackend, rep.Err)
	case rep.Err != "":
		return fmt.Errorf("%s: %s", r.name, rep.Err)
	}
	return nil
}

// stop ends the child, by closing its input.
func (r *reader) stop() {
	_ = r.thaw()
	_ = r.in.Close()
	_ = r.cmd.Wait()
}
