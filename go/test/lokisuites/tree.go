// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const lokiModule = "github.com/grafana/loki/v3"

// tree is a Loki that can be tested.
type tree struct {
	name, dir, modfile string
	args               []string // of go test
	overlay            string   // file for -overlay
}

// trees are the unpatched Loki and the patched one, which lokifork has made.
func trees(root string) (stock, patched tree, err error) {
	build := filepath.Join(root, "build")
	stock = tree{name: "unpatched", dir: filepath.Join(build, "loki-stock-src"), modfile: filepath.Join(build, "loki-stock.mod")}
	patched = tree{name: "patched", dir: filepath.Join(build, "loki-src"), modfile: filepath.Join(build, "loki.mod"), args: []string{"-ldflags", always}}
	for _, t := range []tree{stock, patched} {
		if _, err := os.Stat(t.dir); err != nil {
			return stock, patched, fmt.Errorf("%w; make loki-src loki-stock-src makes both trees", err)
		}
	}
	return stock, patched, nil
}

// test runs a suite and returns what became of every test.
func (t tree) test(ctx context.Context, out io.Writer, s suite, logs string, more ...string) (results, error) {
	begin := time.Now()
	log, err := os.Create(filepath.Join(logs, s.name+"-"+t.name+".json"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := slices.Concat([]string{"test", "-C", t.dir, "-modfile", t.modfile, "-json", "-overlay=" + t.overlay}, t.args, s.args, more, s.packages)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the tests, too
	cmd.Stderr = log
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%s, %s: go %s\n", s.name, t.name, strings.Join(args, " "))
	r, err := parseEvents(io.TeeReader(pipe, log), out)
	if waitErr := cmd.Wait(); err == nil {
		var exit *exec.ExitError
		if !errors.As(waitErr, &exit) { // that tests fail is said by the events
			err = waitErr
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && len(r) == 0 {
		err = fmt.Errorf("go test ran nothing; see %s", log.Name())
	}
	fmt.Fprintf(out, "%s, %s: %s in %s\n", s.name, t.name, r.counts(), time.Since(begin).Round(time.Second))
	return r, err
}

// rerun runs single tests again.
func (t tree) rerun(ctx context.Context, out io.Writer, s suite, logs string, bad []id) (results, error) {
	all := results{}
	for _, pkg := range packagesOf(bad) {
		var tests []string
		for _, b := range bad {
			if top, _, _ := strings.Cut(b.test, "/"); b.pkg == pkg && top != "" {
				tests = append(tests, regexp.QuoteMeta(top))
			}
		}
		slices.Sort(tests)
		one := suite{s.name + "-again", []string{"./" + strings.TrimPrefix(pkg, lokiModule+"/")}, s.args}
		more := []string{"-count=1"}
		if len(tests) > 0 {
			more = append(more, "-run", "^("+strings.Join(slices.Compact(tests), "|")+")$")
		}
		r, err := t.test(ctx, out, one, logs, more...)
		if err != nil {
			return nil, err
		}
		// With all its tests right, so is the package.
		if p := (id{pkg, ""}); all[p] == "" {
			all[p] = r[p]
		}
		for k, v := range r {
			all[k] = v
		}
	}
	return all, nil
}
