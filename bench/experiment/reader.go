// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/bench/internal/childproc"
	"github.com/chunkring/chunkring/bench/internal/peers"
)

// reader is the driver's side of a child.
type reader struct {
	name    string
	backend string
	process *childproc.Process
}

// startReader starts exe as a child that is confined to so many CPUs, and waits until its reader is open.
func startReader(ctx context.Context, exe, name string, cfg childConfig, cpus int) (*reader, error) {
	cmd := exec.CommandContext(ctx, exe, "child", cfg.Dir, cfg.Peer, strconv.Itoa(cfg.Files), strconv.Itoa(cfg.Callers))
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(cpus))
	process, err := startOn(name, cmd, cpus)
	if err != nil {
		return nil, err
	}
	r := &reader{name: name, process: process}
	hello, err := r.hello()
	if err != nil {
		r.stop()
		return nil, err
	}
	r.backend = hello.Backend
	return r, process.Freeze()
}

// startOn starts cmd with an affinity to the last CPUs (the first serve most interrupts), which a process
// inherits from the thread that starts it.
func startOn(name string, cmd *exec.Cmd, cpus int) (*childproc.Process, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, some unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	for cpu := len(all)*64 - 1; cpu >= 0 && some.Count() < cpus; cpu-- {
		if all.IsSet(cpu) {
			some.Set(cpu)
		}
	}
	if some.Count() < cpus {
		return nil, fmt.Errorf("%d CPUs are wanted, %d are usable", cpus, some.Count())
	}
	if err := unix.SchedSetaffinity(0, &some); err != nil {
		return nil, err
	}
	process, err := childproc.Start(name, cmd)
	return process, errors.Join(err, unix.SchedSetaffinity(0, &all))
}

// ask thaws the child for one request.
func (r *reader) ask(req request) (reply, error) {
	if err := r.process.Thaw(); err != nil {
		return reply{}, err
	}
	rep, err := r.exchange(req)
	return rep, errors.Join(err, r.process.Freeze())
}

func (r *reader) exchange(req request) (reply, error) {
	var rep reply
	err := r.process.Ask(req, &rep)
	return rep, errors.Join(err, r.failure(rep))
}

// hello is the first reply, which comes without a request.
func (r *reader) hello() (reply, error) {
	var rep reply
	err := r.process.Receive(&rep)
	return rep, errors.Join(err, r.failure(rep))
}

// failure is what a reply says went wrong.
func (r *reader) failure(rep reply) error {
	switch {
	case rep.Fell:
		return fmt.Errorf("%w: %s", peers.ErrBackend, rep.Err)
	case rep.Err != "":
		return fmt.Errorf("%s: %s", r.name, rep.Err)
	}
	return nil
}

// stop ends the child. A reader that failed has already said so.
func (r *reader) stop() { _ = r.process.Stop() }
