// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	lokiModule = "github.com/grafana/loki/v3"
	pushModule = "github.com/grafana/loki/pkg/push"
)

// tree is a Loki that can be tested.
type tree struct {
	name, dir, modfile string
	args               []string // of go test
	overlay            string   // file for -overlay
}

// prepareStock copies the Loki of go.mod out of the module cache, where tests must not write, and makes
// a module file for it.
func prepareStock(root string) (tree, error) {
	t := tree{name: "unpatched", dir: filepath.Join(root, "build", "loki-stock-src"), modfile: filepath.Join(root, "build", "loki-stock.mod")}
	var m struct{ Version, Dir, GoMod string }
	version, err := goOutput(root, "list", "-m", "-f", "{{.Version}}", lokiModule)
	if err != nil {
		return t, err
	}
	data, err := goOutput(root, "mod", "download", "-json", lokiModule+"@"+strings.TrimSpace(string(version)))
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return t, err
	}
	if err := copyLoki(m.Dir, t.dir, m.Version); err != nil {
		return t, err
	}
	return t, writeModfile(root, m.Dir, m.GoMod, t.modfile)
}

// copyLoki copies once a version.
func copyLoki(from, to, version string) error {
	stamp := filepath.Join(to, ".copied")
	if old, err := os.ReadFile(stamp); err == nil && string(old) == version {
		return nil
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()|0o200) // the cache's files are read-only
	})
	if err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(version), 0o666)
}

// writeModfile copies Loki's go.mod, without the line that replaces its nested module by a folder that
// is not in the module cache, and writes the sums beside it.
func writeModfile(root, loki, gomod, to string) error {
	data, err := os.ReadFile(gomod)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o666); err != nil {
		return err
	}
	if _, err := goOutput(root, "mod", "edit", "-dropreplace="+pushModule, to); err != nil {
		return err
	}
	var lines []string
	for _, name := range []string{filepath.Join(loki, "go.sum"), filepath.Join(root, "go.sum")} {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		lines = append(lines, strings.Split(strings.TrimSpace(string(data)), "\n")...)
	}
	slices.Sort(lines)
	sums := strings.Join(slices.Compact(lines), "\n") + "\n"
	return os.WriteFile(strings.TrimSuffix(to, ".mod")+".sum", []byte(sums), 0o666)
}

func goOutput(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
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
