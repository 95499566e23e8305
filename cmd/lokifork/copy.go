// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	lokiModule      = "github.com/grafana/loki/v3"
	chunkringModule = "github.com/chunkring/chunkring"
)

// stampName is a file in a tree that says what made it.
const stampName = ".lokifork"

// module is what go mod download says of one.
type module struct {
	Version, Dir, GoMod, Sum, GoModSum string
}

// findLoki returns the Loki of a version, downloaded and verified; without one, that of chunkring's go.mod.
func findLoki(root, version string) (*module, error) {
	if version == "" {
		list, err := goCommand(root, "list", "-m", "-f", "{{.Version}}", lokiModule)
		if err != nil {
			return nil, err
		}
		version = strings.TrimSpace(string(list))
	}
	return downloadModule(root, lokiModule, version)
}

func downloadModule(root, path, version string) (*module, error) {
	out, err := goCommand(root, "mod", "download", "-json", path+"@"+version)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, out) // the reason is in the JSON
	}
	m := &module{}
	if err := json.Unmarshal(out, m); err != nil {
		return nil, fmt.Errorf("go mod download: %w", err)
	}
	return m, nil
}

func goCommand(dir string, args ...string) ([]byte, error) {
	return runCommand(dir, "go", args...)
}

func runCommand(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// makePatched makes the patched copy and the module files, or finds that they are there.
func makePatched(out io.Writer, root, version, tree, modfile, patchedMod string) error {
	loki, err := findLoki(root, version)
	if err != nil {
		return err
	}
	f, err := fit(loki.Dir, moduleVersion(loki.Version), edits)
	if err != nil {
		return err
	}
	files, err := patched(loki.Dir, f, true)
	if err != nil {
		return err
	}
	for _, line := range f.leftOut() {
		fmt.Fprintln(out, line)
	}
	tree = below(root, tree)
	if err := writeModfiles(root, loki, tree, below(root, modfile), below(root, patchedMod)); err != nil {
		return err
	}
	return makeTree(out, loki, tree, files)
}

// makeStock makes the unpatched copy, which tests of Loki's may write to, and its module file. Tests and
// benchmarks compare the patched Loki with it.
func makeStock(out io.Writer, root, version, tree, modfile string) error {
	loki, err := findLoki(root, version)
	if err != nil {
		return err
	}
	if err := writeStockModfile(root, loki, below(root, modfile)); err != nil {
		return err
	}
	return makeTree(out, loki, below(root, tree), nil)
}

// below is path, seen from root if it is relative.
func below(root, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}

// makeTree makes a copy of Loki with these files patched or added, or finds that it is there.
func makeTree(out io.Writer, loki *module, tree string, files map[string][]byte) error {
	stamp := stampOf(loki, files)
	if isCurrent(tree, stamp, files) {
		fmt.Fprintf(out, "%s: up to date (Loki %s)\n", tree, loki.Version)
		return nil
	}
	if err := replaceTree(loki.Dir, tree, stamp, files); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: Loki %s, %d files patched or added\n", tree, loki.Version, len(files))
	return nil
}

// stampOf names a tree by all that went into it.
func stampOf(loki *module, files map[string][]byte) string {
	h := sha256.New()
	fmt.Fprintln(h, loki.Version, loki.Sum)
	for _, name := range sortedNames(files) {
		fmt.Fprintf(h, "%s %d\n%s", name, len(files[name]), files[name])
	}
	return fmt.Sprintf("made by lokifork from Loki %s\n%x\n", loki.Version, h.Sum(nil))
}

// digest is short and names some text.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

func sortedNames(files map[string][]byte) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// isCurrent reports whether the tree was made by this lokifork and its patched files are untouched.
func isCurrent(tree, stamp string, files map[string][]byte) bool {
	if old, err := os.ReadFile(filepath.Join(tree, stampName)); err != nil || string(old) != stamp {
		return false
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(tree, name)); err != nil || !bytes.Equal(got, want) {
			return false
		}
	}
	return true
}

// replaceTree copies Loki beside the tree, patches it there and puts it in the tree's place.
func replaceTree(loki, tree, stamp string, files map[string][]byte) error {
	if err := mayReplace(tree); err != nil {
		return err
	}
	fresh := tree + ".tmp"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := copyTree(loki, fresh); err != nil {
		return err
	}
	if err := write(fresh, files); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(fresh, stampName), []byte(stamp), 0o666); err != nil {
		return err
	}
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	return os.Rename(fresh, tree)
}

// mayReplace refuses a directory that lokifork did not make.
func mayReplace(tree string) error {
	entries, err := os.ReadDir(tree)
	if os.IsNotExist(err) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(tree, stampName)); err != nil {
		return fmt.Errorf("%s has files that lokifork did not make; give -o a directory that is new", tree)
	}
	return nil
}

// copyTree copies all files; the module cache's are read-only, the copies aren't.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o777)
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm()|0o200)
}
