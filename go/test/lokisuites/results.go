// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// id names a test; a package as a whole has no test.
type id struct{ pkg, test string }

func (i id) String() string {
	if i.test == "" {
		return i.pkg + " (the package)"
	}
	return i.pkg + "." + i.test
}

// results are pass, fail or skip.
type results map[id]string

// event is what go test -json prints.
type event struct {
	Action, Package, Test, ImportPath string
	Elapsed                           float64
}

// parseEvents reads the output of go test -json, and tells out about packages that are done.
func parseEvents(in io.Reader, out io.Writer) (results, error) {
	r := results{}
	tests := map[string]int{}
	s := bufio.NewScanner(in)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		var e event
		if !bytes.HasPrefix(s.Bytes(), []byte("{")) {
			continue // of the go command itself
		}
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			return r, fmt.Errorf("go test -json: %w: %.200s", err, s.Bytes())
		}
		switch e.Action {
		case "pass", "fail", "skip":
		default:
			continue
		}
		r[id{e.Package, e.Test}] = e.Action
		if e.Test != "" {
			tests[e.Package]++
		} else if e.Action == "fail" || tests[e.Package] > 0 {
			fmt.Fprintf(out, "  %-4s %s: %d tests, %.1fs\n", e.Action, strings.TrimPrefix(e.Package, lokiModule+"/"), tests[e.Package], e.Elapsed)
		}
	}
	return r, s.Err()
}

func (r results) merge(other results) {
	for k, v := range other {
		if v == "pass" {
			r[k] = v
		}
	}
	// A package failed only because of tests that have passed meanwhile.
	for k, v := range r {
		if k.test == "" && v == "fail" && other[k] == "pass" {
			r[k] = "pass"
		}
	}
}

func (r results) counts() string {
	n := map[string]int{}
	for k, v := range r {
		if k.test != "" {
			n[v]++
		}
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped", n["pass"], n["fail"], n["skip"])
}

func (r results) failing() []id {
	var bad []id
	for k, v := range r {
		if v == "fail" {
			bad = append(bad, k)
		}
	}
	sortIDs(bad)
	return bad
}

func sortIDs(ids []id) {
	slices.SortFunc(ids, func(a, b id) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test)) })
}

func passInBoth(want, got results) int {
	n := 0
	for k, v := range want {
		if k.test != "" && v == "pass" && got[k] == "pass" {
			n++
		}
	}
	return n
}

// regressions are tests that pass in want and not in got, and failing tests that only got has. A subtest
// that is gone is none if its siblings are as many as before: some have random names.
func regressions(want, got results) []id {
	children := func(r results, of id) int {
		n := 0
		for k := range r {
			if k.pkg == of.pkg && parent(k) == of {
				n++
			}
		}
		return n
	}
	var bad []id
	for k, v := range want {
		if v != "pass" || got[k] == "pass" {
			continue
		}
		if p := parent(k); got[k] == "" && p.test != "" && got[p] == "pass" && children(want, p) == children(got, p) {
			continue
		}
		bad = append(bad, k)
	}
	for k, v := range got {
		if want[k] == "" && v == "fail" {
			bad = append(bad, k)
		}
	}
	sortIDs(bad)
	return bad
}

func parent(k id) id {
	i := strings.LastIndexByte(k.test, '/')
	return id{k.pkg, k.test[:max(i, 0)]}
}

func names(ids []id) []string {
	var s []string
	for _, i := range ids {
		s = append(s, i.String())
	}
	return s
}

func packagesOf(ids []id) []string {
	var pkgs []string
	for _, i := range ids {
		pkgs = append(pkgs, i.pkg)
	}
	slices.Sort(pkgs)
	return slices.Compact(pkgs)
}
