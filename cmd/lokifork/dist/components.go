// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode"
)

// component is something that was linked into a program.
type component struct {
	name, version string
	purl          string // its package URL
	licence       string // an SPDX expression
	texts         []text // its licence, notices included
	sum           string // of a Go module, as in go.sum
}

type text struct{ name, body string }

const (
	chunkringModule = "github.com/chunkring/chunkring"
	lokiModule      = "github.com/grafana/loki/v3"
)

// cLibraries are the archives that libchunkring.a and each static program are linked from, by the Debian package
// that has them. cross is the package's name on a machine of another architecture, where it is another.
var cLibraries = []struct{ name, debian, cross, licence string }{
	{"liburing", "liburing-dev", "", "MIT OR LGPL-2.1-or-later"},
	{"zstd", "libzstd-dev", "", "BSD-3-Clause OR GPL-2.0-only"},
	{"libdeflate", "libdeflate-dev", "", "MIT"},
	{"lz4", "liblz4-dev", "", "BSD-2-Clause"},
	{"glibc", "libc6-dev", "libc6-dev-arm64-cross", "LGPL-2.1-or-later"},
	{"libgcc", "libgcc-%s-dev", "libgcc-%s-dev-arm64-cross", "GPL-3.0-or-later WITH GCC-exception-3.1"},
}

// cComponents are the C libraries of an architecture: those of this machine, or those that .ci/arm64-libs has put
// below tree/build/arm64.
func cComponents(o *options) ([]component, error) {
	gcc, err := output(ccOf(o.arch), "-dumpversion")
	if err != nil {
		return nil, err
	}
	gcc, _, _ = strings.Cut(gcc, ".")
	var all []component
	for _, l := range cLibraries {
		installed, docs := l.debian, "/usr/share/doc"
		query := []string{"dpkg-query", "-W", "-f", "${Version}"}
		if o.arch != machine() {
			if installed = l.cross; installed == "" {
				debs, err := filepath.Glob(filepath.Join(o.tree, "build/arm64/debs", l.debian+"_*.deb"))
				if err != nil || len(debs) != 1 {
					return nil, fmt.Errorf("%s: want one package in %s/build/arm64/debs, there are %d", l.debian, o.tree, len(debs))
				}
				installed, docs = debs[0], filepath.Join(o.tree, "build/arm64/sysroot/usr/share/doc")
				query = []string{"dpkg-deb", "-W", "--showformat=${Version}"}
			}
		}
		if strings.Contains(installed, "%s") {
			installed = fmt.Sprintf(installed, gcc)
		}
		version, err := output(append(query, installed)...)
		if err != nil {
			return nil, err
		}
		name, _, _ := strings.Cut(filepath.Base(installed), "_")
		copyright, err := os.ReadFile(filepath.Join(docs, name, "copyright"))
		if err != nil {
			return nil, fmt.Errorf("the licence of %s: %w", l.name, err)
		}
		all = append(all, component{
			name: l.name, version: version, licence: l.licence,
			purl:  fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", name, strings.ReplaceAll(version, "+", "%2B"), o.arch),
			texts: []text{{"copyright", string(copyright)}},
		})
	}
	return all, nil
}

// machine is the architecture of this machine.
func machine() string { return runtime.GOARCH }

// goComponents are the Go modules that a program was linked from, as it says itself, with Go's own library.
func goComponents(program string) ([]component, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	goroot, err := output("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	cache, err := output("go", "env", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	version := strings.TrimPrefix(info.GoVersion, "go")
	all := []component{{name: "Go's standard library", version: version, purl: "pkg:golang/std@" + version}}
	dirs := []string{goroot}
	for _, m := range info.Deps {
		if m.Path == chunkringModule {
			continue // the package's own
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version == "" {
			return nil, fmt.Errorf("%s was built from a folder (%s): its licence is not known", program, m.Path)
		}
		all = append(all, component{name: m.Path, version: m.Version, sum: m.Sum, purl: "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")})
		dirs = append(dirs, filepath.Join(cache, escaped(m.Path)+"@"+escaped(m.Version)))
	}
	for i := range all {
		c := &all[i]
		if c.texts, err = licenceTexts(dirs[i]); err != nil {
			return nil, err
		}
		if c.licence, err = classify(c.name, c.texts); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all[1:], func(a, b component) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// escaped is a module's path or version as a folder of the module cache: a capital is ! and a small letter.
func escaped(path string) string {
	var b strings.Builder
	for _, r := range path {
		if unicode.IsUpper(r) {
			b.WriteByte('!')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// ccOf is the compiler for an architecture.
func ccOf(arch string) string {
	if arch == machine() {
		return "cc"
	}
	return map[string]string{"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}[arch]
}

// output is what a command prints, without the space around it.
func output(command ...string) (string, error) {
	c := exec.Command(command[0], command[1:]...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
