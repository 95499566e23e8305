// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// Build is a Loki binary and how it is run.
type Build struct {
	Name    string
	Bin     string
	Args    []string // win over the configuration file
	Wrap    []string // a program that becomes Bin, and its arguments before Bin; none, if it is empty
	Patched bool     // a Loki with chunkring, whatever of it is switched on
	// Backend is the back-end of chunkring that must be in use, "any", or "" if chunkring must not be.
	Backend string
}

// Version is a Loki's, and the Go's that compiled it.
func (b Build) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, b.Bin, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s -version: %w: %s", b.Bin, err, out)
	}
	first, rest, _ := strings.Cut(string(out), "\n")
	for line := range strings.Lines(rest) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "go version" {
			return first + ", " + strings.TrimSpace(value), nil
		}
	}
	return first, nil
}

// Proc is one running Loki.
type Proc struct {
	Build
	Label string // in messages
	Dir   string
	Cfg   Config
	// Excuses are parts of lines that are no alarm: what the test did to the process explains them.
	Excuses []string
	log     string // file
	args    []string
	cmd     *exec.Cmd
	done    chan struct{} // closed when it ended
	err     error         // why, after done
}

// Fleet starts processes, and ends all that are left.
type Fleet struct {
	Root string // of the processes' own directories
	mu   sync.Mutex
	all  []*Proc
	n    int

	services []*Service
}

// FreePorts returns ports of 127.0.0.1 that nobody listens to.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // after all are chosen, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Start starts a Loki and waits until it is ready. Missing ports and the private directory are chosen here.
func (f *Fleet) Start(ctx context.Context, b Build, label string, cfg Config, args ...string) (*Proc, error) {
	p, err := f.Launch(b, label, cfg, args...)
	if err != nil {
		return nil, err
	}
	return p, p.WaitReady(ctx)
}

// Launch is Start without waiting.
func (f *Fleet) Launch(b Build, label string, cfg Config, args ...string) (*Proc, error) {
	f.mu.Lock()
	f.n++
	dir := filepath.Join(f.Root, fmt.Sprintf("%02d-%s", f.n, strings.ReplaceAll(label, " ", "-")))
	f.mu.Unlock()
	if cfg.HTTP == 0 {
		ports, err := FreePorts(2)
		if err != nil {
			return nil, err
		}
		cfg.HTTP, cfg.GRPC = ports[0], ports[1]
	}
	if len(args) == 0 {
		cfg.Frontend = cfg.GRPC // a single binary; its query-scheduler would need 10 s to get ready
	}
	cfg.Dir = dir
	p := &Proc{Build: b, Label: label, Dir: dir, Cfg: cfg, log: filepath.Join(dir, "loki.log"), args: args}
	if err := p.Run(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, p)
	return p, nil
}

// Run writes the configuration and starts the process; again, after it ended.
func (p *Proc) Run() error {
	if err := os.MkdirAll(filepath.Join(p.Dir, "rules"), 0o777); err != nil {
		return err
	}
	text, err := p.Cfg.yaml()
	if err != nil {
		return err
	}
	file := filepath.Join(p.Dir, "loki.yaml")
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		return err
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer out.Close()
	argv := slices.Concat(p.Wrap, []string{p.Bin, "-config.file=" + file}, p.Build.Args, p.args)
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// Its own group: an interrupt is ours to handle. If we are killed, it is.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.done = make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Label, err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		p.err = cmd.Wait()
		close(done)
	}(p.cmd, p.done)
	return nil
}

// PID is the process's id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// URL is where a path is served.
func (p *Proc) URL(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", p.Cfg.HTTP, path) }

// WaitReady waits until it serves.
func (p *Proc) WaitReady(ctx context.Context) error {
	return p.Poll(ctx, readyTimeout, "get ready", func() (bool, error) {
		code, _, err := Get(ctx, p.URL("/ready"), "")
		return err == nil && code == http.StatusOK, nil
	})
}

// Poll waits until what is true, and fails when the process ends before.
func (p *Proc) Poll(ctx context.Context, limit time.Duration, aim string, what func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := what()
		if err != nil {
			return fmt.Errorf("%s: %w", p.Label, err)
		}
		if ok {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended (%v) and could not %s; the end of %s:\n%s", p.Label, p.err, aim, p.log, tail(p.log, 15))
		case <-ctx.Done():
			return fmt.Errorf("%s did not %s in %s (%w); the end of %s:\n%s", p.Label, aim, limit, context.Cause(ctx), p.log, tail(p.log, 15))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Stop asks the process to end and waits: its ingester flushes and uploads its index.
func (p *Proc) Stop() error {
	if p.ended() {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("%s did not stop in %s and was killed; the end of %s:\n%s", p.Label, stopTimeout, p.log, tail(p.log, 15))
	}
}

// WaitKilled waits, not for long, whether the process ends by SIGKILL.
func (p *Proc) WaitKilled(limit time.Duration) bool {
	select {
	case <-p.done:
		status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	case <-time.After(limit):
		return false
	}
}

func (p *Proc) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// WaitRefused waits until a process that was launched ends by itself, as it must, and has said why.
func (p *Proc) WaitRefused(ctx context.Context, why string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("%s runs (%w), and was to refuse: %s", p.Label, context.Cause(ctx), why)
	}
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	if p.err == nil || !strings.Contains(string(text), why) {
		return fmt.Errorf("%s ended (%v), and did not say %q; the end of %s:\n%s", p.Label, p.err, why, p.log, tail(p.log, 15))
	}
	return nil
}

// Kill ends it at once.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Kill() // may have ended by itself
	<-p.done
}

// KillAll ends what is left, gracelessly.
func (f *Fleet) KillAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.all {
		if !p.ended() {
			p.Kill()
		}
	}
	for _, s := range f.services {
		s.Kill()
	}
}

// Alarming returns the lines of all logs that no Loki should print.
func (f *Fleet) Alarming() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var bad []string
	for _, p := range f.all {
		data, err := os.ReadFile(p.log)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		for line := range strings.Lines(string(data)) {
			if isAlarming(line) && !p.excuses(line) {
				bad = append(bad, p.Label+": "+strings.TrimSpace(line))
			}
		}
	}
	return bad
}

// Logged reports whether the process has logged a line with all of these parts, or does so soon: Loki buffers its log.
func (p *Proc) Logged(ctx context.Context, parts ...string) (bool, error) {
	const soon = 10 * time.Second
	for begin := time.Now(); ; {
		data, err := os.ReadFile(p.log)
		if err != nil {
			return false, err
		}
		if hasLine(string(data), parts) {
			return true, nil
		}
		if time.Since(begin) > soon {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func hasLine(log string, parts []string) bool {
next:
	for line := range strings.Lines(log) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue next
			}
		}
		return true
	}
	return false
}

func (p *Proc) excuses(line string) bool {
	return slices.ContainsFunc(p.Excuses, func(part string) bool { return strings.Contains(line, part) })
}

func isAlarming(line string) bool {
	has := func(part string) bool { return strings.Contains(line, part) }
	switch {
	case strings.HasPrefix(line, "panic:"), strings.HasPrefix(line, "fatal error:"), has("recovered from panic"), has("invalid chunk checksum"):
		return true
	case has("level=error"):
		return has("component=chunkring") || has("failed downloading chunks") && !has("context canceled") // a limit was reached
	}
	return false
}

// tail returns the last lines of a file.
func tail(name string, n int) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-n):], "\n    ")
}

// FindBinaries makes the paths of Lokis absolute, and says how to build one that is missing.
func FindBinaries(paths ...*string) error {
	for _, bin := range paths {
		if _, err := os.Stat(*bin); err != nil {
			return fmt.Errorf("%w; make loki loki-stock builds them (LOKI=v3.5.7: those in build/v3.5.7)", err)
		}
		abs, err := filepath.Abs(*bin)
		if err != nil {
			return err
		}
		*bin = abs
	}
	return nil
}
