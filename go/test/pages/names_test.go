// SPDX-License-Identifier: Apache-2.0

package pages

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	makeCommand  = regexp.MustCompile(`(?:^|[\s;&(])make((?: +(?:-[A-Za-z]\S*|[A-Z_]+=(?:"[^"]*"|'[^']*'|\S*)|[a-z][a-z0-9-]*))+)`)
	makeVariable = regexp.MustCompile(`[A-Z_]+=(?:"[^"]*"|'[^']*'|\S*)`)
	makeRule     = regexp.MustCompile(`(?m)^([a-z0-9][a-z0-9-]*):`)
)

// TestMakeTargets: what a page has a reader make, the Makefile makes.
func TestMakeTargets(t *testing.T) {
	targets := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, "mk/*.mk"))
	require.NoError(t, err)
	for _, file := range append(files, filepath.Join(root, "Makefile")) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range makeRule.FindAllStringSubmatch(string(text), -1) {
			targets[m[1]] = true
		}
	}
	require.Greater(t, len(targets), 40)
	named := map[string]bool{}
	for _, p := range allPages(t) {
		p.commands(func(n int, text string) {
			command, _, _ := strings.Cut(text, "#")
			for _, m := range makeCommand.FindAllStringSubmatch(command, -1) {
				for word := range strings.FieldsSeq(makeVariable.ReplaceAllString(m[1], "")) {
					if strings.HasPrefix(word, "-") {
						continue
					}
					named[word] = true
					if !targets[word] {
						t.Errorf("%s:%d: make %s: there is no such target", p.path, n, word)
					}
				}
			}
		})
	}
	require.Greater(t, len(named), 20, "targets that pages name")
}

var cFunction = regexp.MustCompile(`\bcr_[a-z0-9_]+\(`)

// TestCFunctions: a function of the library that a page names exists. README and the tour name public ones only.
func TestCFunctions(t *testing.T) {
	header := readSource(t, "c/include/chunkring.h")
	library := header
	for _, file := range sources(t, "c/src") {
		library += readSource(t, file)
	}
	named := 0
	for _, p := range allPages(t) {
		known := library
		if p.path == "README.md" || p.path == "docs/c-api.md" {
			known = header
		}
		for _, l := range p.lines {
			for _, name := range cFunction.FindAllString(l.text, -1) {
				named++
				if !strings.Contains(known, name) {
					t.Errorf("%s:%d: there is no %s)", p.path, l.n, name)
				}
			}
		}
	}
	require.Greater(t, named, 20, "functions that pages name")
}

var goTest = regexp.MustCompile("^(?:Test|Fuzz)[A-Z][A-Za-z0-9]*$")

// TestGoTests: a test in Go that a page names exists. (.ci/named-tests looks for those in C, too, on the pages that
// promise something.)
func TestGoTests(t *testing.T) {
	known := map[string]bool{}
	for _, folder := range []string{"go", "cmd", "bench"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(strings.TrimSuffix(path, ".txt"), "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
				known[m[1]] = true
			}
			return err
		})
		require.NoError(t, err)
	}
	named := 0
	for _, p := range allPages(t) {
		for _, l := range p.lines {
			code, _ := spans(l.text)
			for _, s := range code {
				if goTest.MatchString(s) {
					named++
					require.True(t, known[s], "%s:%d: there is no test %s", p.path, l.n, s)
				}
			}
		}
	}
	require.Greater(t, named, 20, "tests that pages name")
}

var figure = regexp.MustCompile(`\d+\.\d+ \[\d+\.\d+\.\.\d+\.\d+\]`)

// TestReadmeFigures: a figure with its spread in README is one of the committed reports.
func TestReadmeFigures(t *testing.T) {
	var reports string
	for _, p := range allPages(t) {
		if strings.HasPrefix(p.path, "bench/report/") {
			for _, l := range p.lines {
				reports += l.text + "\n"
			}
		}
	}
	named := 0
	readme := pageOf(t, "README.md")
	for _, l := range readme.lines {
		for _, f := range figure.FindAllString(l.text, -1) {
			named++
			require.Contains(t, reports, f, "README.md:%d", l.n)
		}
	}
	require.NotZero(t, named)
	require.LessOrEqual(t, len(readme.lines), 130, "what does not fit README goes into docs/")
}

// ourFile is a path of this repository's in a page: one with a folder of ours in front. Patterns are none, and
// what has NAME in it.
var ourFile = regexp.MustCompile(`^(?:\./)?((?:c|cmd|go|bench|docs|mk|testdata|\.ci)/[A-Za-z0-9_./-]+)$`)

// TestFiles: a file or folder that a page names between backticks is there.
func TestFiles(t *testing.T) {
	named := 0
	for _, p := range allPages(t) {
		for _, l := range p.lines {
			if l.code {
				continue
			}
			code, _ := spans(l.text)
			for _, s := range code {
				m := ourFile.FindStringSubmatch(s)
				if m == nil || strings.Contains(s, "NAME") {
					continue
				}
				named++
				_, err := os.Stat(filepath.Join(root, m[1]))
				if _, here := os.Stat(filepath.Join(root, filepath.Dir(p.path), m[1])); err != nil && here != nil {
					t.Errorf("%s:%d: %s: there is no such file", p.path, l.n, s)
				}
			}
		}
	}
	require.Greater(t, named, 20, "files that pages name")
}
