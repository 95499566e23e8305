// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// printDiff prints a patch with everything that lokifork patch changes, go.mod included.
func printDiff(out io.Writer, root, version, chunkring string) error {
	loki, err := findLoki(root, version)
	if err != nil {
		return err
	}
	f, err := fit(loki.Dir, moduleVersion(loki.Version), edits)
	if err != nil {
		return err
	}
	files, err := patched(loki.Dir, f, false)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lokifork-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files["go.mod"], err = requireChunkring(dir, loki.GoMod, chunkring)
	if err != nil {
		return err
	}
	originals := map[string][]byte{}
	for name := range files {
		if data, err := os.ReadFile(filepath.Join(loki.Dir, name)); err == nil {
			originals[name] = data
		}
	}
	// git names the folders in the patch: a and b are what git apply expects.
	if err := write(filepath.Join(dir, "a"), originals); err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "b"), files); err != nil {
		return err
	}
	patch, err := runCommand(dir, "git", "diff", "--no-index", "--no-prefix", "--no-color", "--no-ext-diff", "a", "b")
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1 means different
		return err
	}
	// Of an added file git writes "diff --git b/x b/x".
	patch = bytes.ReplaceAll(patch, []byte("\ndiff --git b/"), []byte("\ndiff --git a/"))
	if _, err := out.Write(patch); err != nil {
		return fmt.Errorf("print the patch: %w", err)
	}
	return nil
}

// requireChunkring returns a Loki's go.mod with the lines that find chunkring at a path.
func requireChunkring(dir, gomod, path string) ([]byte, error) {
	edited := filepath.Join(dir, "lokifork.mod")
	defer os.Remove(edited)
	err := writeModfile(dir, gomod, edited, "-require="+chunkringModule+"@v0.0.0", "-replace="+chunkringModule+"="+path)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(edited)
}
