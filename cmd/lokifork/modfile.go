// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const pushModule = "github.com/grafana/loki/pkg/push"

// writeModfiles writes the files for go build -modfile, and the .sum beside each: modfile for the
// patched Loki as main module, patchedMod for chunkring as main module with that Loki.
func writeModfiles(root string, loki *module, tree, modfile, patchedMod string) error {
	chunkring, err := moduleFor(root, loki.GoMod)
	if err != nil {
		return err
	}
	toChunkring, err := localPath(tree, chunkring)
	if err != nil {
		return err
	}
	// pkg/push is a module of its own, so it is not in Loki's: the version that Loki requires is used
	// instead of the folder that Loki's replace line names.
	err = writeModfile(root, loki.GoMod, modfile, "-dropreplace="+pushModule,
		"-require="+chunkringModule+"@v0.0.0", "-replace="+chunkringModule+"="+toChunkring)
	if err != nil {
		return err
	}
	if chunkring != root { // this Loki's modules are older than those that chunkring's programs need
		return writeSums(root, loki, modfile)
	}
	toTree, err := localPath(root, tree)
	if err != nil {
		return err
	}
	err = writeModfile(root, filepath.Join(root, "go.mod"), patchedMod, "-replace="+lokiModule+"="+toTree)
	if err != nil {
		return err
	}
	return writeSums(root, loki, modfile, patchedMod)
}

// writeStockModfile writes the file for go build -modfile of the unpatched Loki, and the .sum beside it.
// pkg/push is what Loki requires, as in writeModfiles.
func writeStockModfile(root string, loki *module, modfile string) error {
	if err := writeModfile(root, loki.GoMod, modfile, "-dropreplace="+pushModule); err != nil {
		return err
	}
	return writeSums(root, loki, modfile)
}

// writeSums writes the .sum beside each module file: Loki's checksums and chunkring's.
func writeSums(root string, loki *module, modfiles ...string) error {
	push, err := pushSums(root, loki)
	if err != nil {
		return err
	}
	sums, err := mergeSums(push, filepath.Join(loki.Dir, "go.sum"), filepath.Join(root, "go.sum"))
	if err != nil {
		return err
	}
	for _, mod := range modfiles {
		if err := writeIfNew(strings.TrimSuffix(mod, ".mod")+".sum", sums); err != nil {
			return err
		}
	}
	return nil
}

// pushSums returns the checksums of the pkg/push that a Loki requires. Its go.sum may lack them: it builds with
// the folder.
func pushSums(root string, loki *module) ([]string, error) {
	mod, err := readModfile(loki.GoMod)
	if err != nil {
		return nil, err
	}
	version, ok := mod.requires(pushModule)
	if !ok {
		return nil, fmt.Errorf("%s requires no %s", loki.GoMod, pushModule)
	}
	m, err := downloadModule(root, pushModule, version)
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("%s %s %s", pushModule, m.Version, m.Sum),
		fmt.Sprintf("%s %s/go.mod %s", pushModule, m.Version, m.GoModSum),
	}, nil
}

// localPath is a path to target as a replace line seen from dir wants it.
func localPath(dir, target string) (string, error) {
	rel, err := filepath.Rel(dir, target)
	if err != nil {
		return "", err
	}
	if rel = filepath.ToSlash(rel); strings.HasPrefix(rel, "../") || rel == ".." {
		return rel, nil
	}
	return "./" + rel, nil
}

// writeModfile writes a copy of a go.mod, edited by go mod edit.
func writeModfile(root, from, to string, changes ...string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(to), "lokifork-*.mod")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if err := temporary.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(temporary.Name(), data, 0o666); err != nil {
		return err
	}
	if _, err := goCommand(root, slices.Concat([]string{"mod", "edit"}, changes, []string{temporary.Name()})...); err != nil {
		return err
	}
	edited, err := os.ReadFile(temporary.Name())
	if err != nil {
		return err
	}
	return writeIfNew(to, edited)
}

// writeIfNew leaves a file alone that has these contents.
func writeIfNew(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return os.WriteFile(path, data, 0o666)
}

// mergeSums returns these lines and those of several go.sum files.
func mergeSums(lines []string, paths ...string) ([]byte, error) {
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		lines = append(lines, strings.Split(strings.TrimSpace(string(data)), "\n")...)
	}
	slices.Sort(lines)
	return []byte(strings.Join(slices.Compact(lines), "\n") + "\n"), nil
}
