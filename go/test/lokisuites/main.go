// SPDX-License-Identifier: Apache-2.0

// Command lokisuites is what `make test-loki` runs: Loki's own test suites on an unpatched copy of Loki and
// on the patched one, where every filesystem store is opened with chunkring. A test that passes in the
// first must pass in the second. Last, chunkring is broken on purpose: tests of Loki's that then fail
// prove that they had read their chunks with it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chunkring/chunkring/go/cli"
)

const (
	// Every filesystem store is chunkring's, and queries read every chunk by its ends, however small it is.
	always = "-X github.com/chunkring/chunkring/go/chunkring.lokiAlways=yes -X github.com/chunkring/chunkring/go/chunkring.endsAlways=yes"
	reruns = 2 // of tests that failed in the patched tree only
)

// suite is one go test call a tree.
type suite struct {
	name     string
	packages []string
	args     []string
}

// What `make test-loki` runs, and what CI has time for.
var (
	full = []suite{
		{"packages", []string{"./pkg/storage/...", "./pkg/chunkenc/...", "./pkg/compression/...", "./pkg/compactor/...", "./pkg/logql/bench/..."}, []string{"-timeout=20m"}},
		{"integration", []string{"./integration/..."}, []string{"-tags=integration", "-timeout=20m", "-p=1"}},
	}
	subset = []suite{
		{"subset", []string{"./pkg/storage", "./pkg/storage/chunk", "./pkg/storage/chunk/client", "./pkg/storage/chunk/client/local",
			"./pkg/storage/chunk/client/util", "./pkg/storage/chunk/fetcher", "./pkg/chunkenc/...", "./pkg/compression/...",
			"./pkg/compactor/retention/..."}, []string{"-timeout=10m"}},
	}
	// Packages whose tests read chunks from filesystem stores.
	proof = suite{"proof", []string{"./pkg/storage", "./pkg/compactor/retention"}, []string{"-timeout=10m"}}
)

type options struct {
	root    string
	subset  bool
	noProof bool
	suites  string
	logs    string
}

func main() { cli.Main("lokisuites", parse, run) }

func parse(args []string) (options, error) {
	var o options
	f := cli.Flags("lokisuites", "", "0 what passes unpatched passes patched; 1 something does not; 2 wrong flags")
	f.StringVar(&o.root, "root", ".", "chunkring's `directory`; lokifork has made build/loki-src and build/loki-stock-src there")
	f.BoolVar(&o.subset, "subset", false, "only storage factory, chunk clients, chunkenc, compression, retention")
	f.StringVar(&o.suites, "suites", "", "only these of the full run: packages, integration")
	f.BoolVar(&o.noProof, "no-proof", false, "don't break chunkring to prove that it is used")
	if err := cli.Parse(f, args, 0); err != nil {
		return o, err
	}
	var err error
	o.root, err = filepath.Abs(o.root)
	o.logs = filepath.Join(o.root, "build", "_lokisuites") // an underscore: ./... must not find Go files there
	return o, err
}

func run(ctx context.Context, o options) error {
	out := os.Stdout
	begin := time.Now()
	stock, patched, err := trees(o.root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.logs, 0o777); err != nil {
		return err
	}
	if patched.overlay, err = writeOverlay(o, "patched", inTests); err != nil {
		return err
	}
	var failed []string
	for _, s := range chosen(o) {
		bad, err := compareSuite(ctx, o, out, s, stock, patched)
		if err != nil {
			return err
		}
		failed = append(failed, bad...)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d tests pass unpatched and not patched; logs are in %s\n  %s", len(failed), o.logs, strings.Join(failed, "\n  "))
	}
	if !o.noProof {
		if err := prove(ctx, o, out, patched); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "lokisuites: passed in %s\n", time.Since(begin).Round(time.Second))
	return nil
}

func chosen(o options) []suite {
	if o.subset {
		return subset
	}
	var some []suite
	for _, s := range full {
		if o.suites == "" || strings.Contains(o.suites, s.name) {
			some = append(some, s)
		}
	}
	return some
}

// compareSuite runs a suite in both trees and returns the tests that only the patched tree fails.
func compareSuite(ctx context.Context, o options, out io.Writer, s suite, stock, patched tree) ([]string, error) {
	want, err := stock.test(ctx, out, s, o.logs)
	if err != nil {
		return nil, err
	}
	got, err := patched.test(ctx, out, s, o.logs)
	if err != nil {
		return nil, err
	}
	bad := regressions(want, got)
	for i := 0; i < reruns && len(bad) > 0; i++ {
		fmt.Fprintf(out, "  again: %s\n", strings.Join(names(bad), " "))
		again, err := patched.rerun(ctx, out, s, o.logs, bad)
		if err != nil {
			return nil, err
		}
		got.merge(again)
		bad = regressions(want, got)
	}
	fmt.Fprintf(out, "%s: unpatched %s; patched %s; %d pass in both\n", s.name, want.counts(), got.counts(), passInBoth(want, got))
	for _, id := range want.failing() {
		fmt.Fprintf(out, "  fails unpatched, so it does not count: %s (patched: %s)\n", id, orMissing(got[id]))
	}
	return names(bad), nil
}

func orMissing(s string) string {
	if s == "" {
		return "missing"
	}
	return s
}
