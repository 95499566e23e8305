// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// build is a Loki binary and how it is run.
type build struct {
	name string
	bin  string
	args []string
	// backend is the back-end of chunkring that must be in use, "any", or "" if chunkring must not be.
	backend string
}

// proc is one running Loki.
type proc struct {
	build
	label string // in messages
	dir   string
	cfg   lokiConfig
	log   string // file
	args  []string
	cmd   *exec.Cmd
	done  chan struct{} // closed when it ended
	err   error         // why, after done
}

// fleet starts processes, and ends all that are left.
type fleet struct {
	root string
	mu   sync.Mutex
	all  []*proc
	n    int
}

// freePorts returns ports of 127.0.0.1 that nobody listens to.
func freePorts(n int) ([]int, error) {
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

// start starts a Loki and waits until it is ready. Missing ports and the private directory are chosen here.
func (f *fleet) start(ctx context.Context, b build, label string, cfg lokiConfig, args ...string) (*proc, error) {
	p, err := f.launch(b, label, cfg, args...)
	if err != nil {
		return nil, err
	}
	return p, p.waitReady(ctx)
}

func (f *fleet) launch(b build, label string, cfg lokiConfig, args ...string) (*proc, error) {
	f.mu.Lock()
	f.n++
	dir := filepath.Join(f.root, fmt.Sprintf("%02d-%s", f.n, strings.ReplaceAll(label, " ", "-")))
	f.mu.Unlock()
	if cfg.HTTP == 0 {
		ports, err := freePorts(2)
		if err != nil {
			return nil, err
		}
		cfg.HTTP, cfg.GRPC = ports[0], ports[1]
	}
	if len(args) == 0 {
		cfg.Frontend = cfg.GRPC // a single binary; its query-scheduler would need 10 s to get ready
	}
	cfg.Dir = dir
	p := &proc{build: b, label: label, dir: dir, cfg: cfg, log: filepath.Join(dir, "loki.log"), args: args}
	if err := p.run(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, p)
	return p, nil
}

// run writes the configuration and starts the process; again, after it ended.
func (p *proc) run() error {
	if err := os.MkdirAll(filepath.Join(p.dir, "rules"), 0o777); err != nil {
		return err
	}
	text, err := p.cfg.yaml()
	if err != nil {
		return err
	}
	file := filepath.Join(p.dir, "loki.yaml")
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		return err
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd = exec.Command(p.bin, append(append([]string{"-config.file=" + file}, p.build.args...), p.args...)...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// Its own group: an interrupt is ours to handle. If we are killed, it is.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.done = make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.label, err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		p.err = cmd.Wait()
		close(done)
	}(p.cmd, p.done)
	return nil
}

func (p *proc) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", p.cfg.HTTP, path) }

func (p *proc) waitReady(ctx context.Context) error {
	return p.poll(ctx, readyTimeout, "get ready", func() (bool, error) {
		code, _, err := get(ctx, p.url("/ready"), "")
		return err == nil && code == http.StatusOK, nil
	})
}

// poll waits until what is true, and fails when the process ends before.
func (p *proc) poll(ctx context.Context, limit time.Duration, aim string, what func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := what()
		if err != nil {
			return fmt.Errorf("%s: %w", p.label, err)
		}
		if ok {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended (%v) and could not %s; the end of %s:\n%s", p.label, p.err, aim, p.log, tail(p.log, 15))
		case <-ctx.Done():
			return fmt.Errorf("%s did not %s in %s (%w); the end of %s:\n%s", p.label, aim, limit, context.Cause(ctx), p.log, tail(p.log, 15))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stop asks the process to end and waits: its ingester flushes and uploads its index.
func (p *proc) stop() error {
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
		p.kill()
		return fmt.Errorf("%s did not stop in %s and was killed; the end of %s:\n%s", p.label, stopTimeout, p.log, tail(p.log, 15))
	}
}

func (p *proc) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *proc) kill() {
	_ = p.cmd.Process.Kill() // may have ended by itself
	<-p.done
}

// killAll ends what is left, gracelessly.
func (f *fleet) killAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.all {
		if !p.ended() {
			p.kill()
		}
	}
}

// alarming returns the lines of all logs that no Loki should print.
func (f *fleet) alarming() []string {
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
			if isAlarming(line) {
				bad = append(bad, p.label+": "+strings.TrimSpace(line))
			}
		}
	}
	return bad
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

// ---- HTTP ----

var httpClient = &http.Client{Timeout: 60 * time.Second}

func get(ctx context.Context, url, tenant string) (int, []byte, error) {
	return do(ctx, http.MethodGet, url, tenant, nil)
}

func do(ctx context.Context, method, url, tenant string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if tenant != "" {
		req.Header.Set("X-Scope-OrgID", tenant)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

// metrics are the samples of /metrics: name{labels} to value.
type metrics map[string]float64

func (p *proc) metrics(ctx context.Context) (metrics, error) {
	code, body, err := get(ctx, p.url("/metrics"), "")
	if err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("%s: /metrics: %d %w", p.label, code, err)
	}
	m := metrics{}
	for s := bufio.NewScanner(bytes.NewReader(body)); s.Scan(); {
		line := s.Text()
		space := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || space < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(line[space+1:], 64); err == nil {
			m[line[:space]] = v
		}
	}
	return m, nil
}

// sum adds the samples of a metric whose labels contain all of these.
func (m metrics) sum(name string, labels ...string) float64 {
	total := 0.0
next:
	for sample, v := range m {
		base, rest, _ := strings.Cut(sample, "{")
		if base != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue next
			}
		}
		total += v
	}
	return total
}

// backend is the back-end of chunkring in use, "" if there is none.
func (m metrics) backend() string {
	for sample, v := range m {
		if v == 1 && strings.HasPrefix(sample, "chunkring_backend_info{") {
			_, rest, _ := strings.Cut(sample, `backend="`)
			name, _, _ := strings.Cut(rest, `"`)
			return name
		}
	}
	return ""
}
