// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Service is a program that a Loki talks to: an S3 server, a cache. It listens to an address.
type Service struct {
	Address string
	argv    []string
	log     string // file
	cmd     *exec.Cmd
	done    chan struct{} // closed when it ended
}

// StartService starts a program in the foreground and waits until it takes connections.
func (f *Fleet) StartService(ctx context.Context, name, address string, argv ...string) (*Service, error) {
	s := &Service{Address: address, argv: argv, log: filepath.Join(f.Root, name+".log")}
	if err := s.Run(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services = append(f.services, s)
	return s, nil
}

// Run starts it again, after it was killed.
func (s *Service) Run(ctx context.Context) error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // killed, or said why in the log
		close(done)
	}(s.cmd, s.done)
	if err := s.waitReady(ctx); err != nil {
		s.Kill()
		return err
	}
	return nil
}

func (s *Service) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address); err == nil {
			return conn.Close()
		}
		select {
		case <-s.done:
			return fmt.Errorf("it ended; the end of %s:\n%s", s.log, tail(s.log, 15))
		case <-ctx.Done():
			return fmt.Errorf("it takes no connections (%w); the end of %s:\n%s", context.Cause(ctx), s.log, tail(s.log, 15))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// PID is the id of the process that was started; it may have children.
func (s *Service) PID() int { return s.cmd.Process.Pid }

// Kill ends it and its children at once.
func (s *Service) Kill() {
	_ = syscall.Kill(-s.PID(), syscall.SIGKILL) // the whole group; may have ended by itself
	<-s.done
}
