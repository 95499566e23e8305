// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The files that are added to Loki. Their names end in .txt so that Go does not compile them here.
//
//go:embed all:files
var embedded embed.FS

// added returns the files that are added to Loki, by path below its root.
func added(withTests bool) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(embedded, "files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, isText := strings.CutSuffix(strings.TrimPrefix(path, "files/"), ".txt")
		if !isText || strings.HasSuffix(name, "_test.go") && !withTests {
			return nil
		}
		data, err := embedded.ReadFile(path)
		files[name] = data
		return err
	})
	return files, err
}

// byFile groups edits by the file that they change, files in order of their names.
func byFile(all []edit) (names []string, groups map[string][]edit) {
	groups = map[string][]edit{}
	for _, e := range all {
		if e.put == nowhere {
			continue
		}
		if _, ok := groups[e.file]; !ok {
			names = append(names, e.file)
		}
		groups[e.file] = append(groups[e.file], e)
	}
	slices.Sort(names)
	return names, groups
}

// patched returns all files of a Loki that change or are added, with their new contents. It changes
// nothing on disk.
func patched(loki string, f *fitting, withTests bool) (map[string][]byte, error) {
	if err := f.missing(); err != nil {
		return nil, err
	}
	files, err := f.files(withTests)
	if err != nil {
		return nil, err
	}
	names, groups := byFile(f.edits)
	for _, name := range names {
		src, err := os.ReadFile(filepath.Join(loki, name))
		if err != nil {
			return nil, err
		}
		if files[name], err = apply(src, groups[name]); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// write puts files below dir.
func write(dir string, files map[string][]byte) error {
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			return fmt.Errorf("write a patched file: %w", err)
		}
	}
	return nil
}
