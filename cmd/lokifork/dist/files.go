// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is a file or a folder as it is to be packed. Its bytes are data, or those of the file at from.
type file struct {
	name string // without a slash in front
	mode fs.FileMode
	from string
	data []byte
	link string // a symbolic link to there
	uid  int    // and gid
}

func (f *file) open() (io.ReadCloser, int64, error) {
	if f.from == "" {
		return io.NopCloser(bytes.NewReader(f.data)), int64(len(f.data)), nil
	}
	r, err := os.Open(f.from)
	if err != nil {
		return nil, 0, err
	}
	info, err := r.Stat()
	if err != nil {
		r.Close()
		return nil, 0, err
	}
	return r, info.Size(), nil
}

// withFolders sorts files by name and adds the folders above them, of mode 0755, where they lack.
func withFolders(files []file) ([]file, error) {
	known := map[string]bool{".": true}
	for _, f := range files {
		if known[f.name] || !fs.ValidPath(f.name) {
			return nil, fmt.Errorf("%s is there twice, or is no name", f.name)
		}
		known[f.name] = true
	}
	all := slices.Clone(files)
	for _, f := range files {
		for dir := path.Dir(f.name); !known[dir]; dir = path.Dir(dir) {
			known[dir] = true
			all = append(all, file{name: dir, mode: fs.ModeDir | 0o755})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// writeTar writes files in the order of their names.
func writeTar(w io.Writer, files []file, at time.Time) error {
	files, err := withFolders(files)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for i := range files {
		if err := writeEntry(t, &files[i], at); err != nil {
			return fmt.Errorf("%s: %w", files[i].name, err)
		}
	}
	return t.Close()
}

func writeEntry(t *tar.Writer, f *file, at time.Time) error {
	h := &tar.Header{Name: f.name, Mode: int64(f.mode.Perm()), ModTime: at, Uid: f.uid, Gid: f.uid}
	if f.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	switch {
	case f.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, f.name+"/"
		return t.WriteHeader(h)
	case f.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		return t.WriteHeader(h)
	}
	r, size, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	h.Typeflag, h.Size = tar.TypeReg, size
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(t, r)
	return err
}

// writeFile writes a whole file or none.
func writeFile(name string, write func(io.Writer) error) error {
	tmp := name + ".part"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, name)
}

// writeTarGz writes an archive in which everything is below a folder of the archive's name.
func writeTarGz(name string, files []file, at time.Time) error {
	top := strings.TrimSuffix(filepath.Base(name), ".tar.gz")
	below := slices.Clone(files)
	for i := range below {
		below[i].name = path.Join(top, below[i].name)
	}
	return writeFile(name, func(w io.Writer) error {
		z := gzip.NewWriter(w) // no name and no time in its header
		return errors.Join(writeTar(z, below, at), z.Close())
	})
}

// folder lists what is in a folder, as files below prefix. keep says which of its files, by their path in it.
func folder(dir, prefix string, keep func(name string) bool) (files []file, err error) {
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && rel != "." && !keep(rel+"/"):
			return filepath.SkipDir
		case d.IsDir() || !keep(rel):
			return nil
		}
		f := file{name: path.Join(prefix, filepath.ToSlash(rel)), from: p, mode: 0o644}
		if d.Type()&fs.ModeSymlink != 0 {
			f.link, err = os.Readlink(p)
			files = append(files, f)
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&0o100 != 0 {
			f.mode = 0o755
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// writeSums writes SHA256SUMS of the files in dir, for sha256sum -c.
func writeSums(dir string) error {
	const sums = "SHA256SUMS"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, e := range entries {
		if e.Name() == sums || !e.Type().IsRegular() {
			continue
		}
		digest, _, err := digestOf(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", digest, e.Name())
	}
	return os.WriteFile(filepath.Join(dir, sums), []byte(text.String()), 0o666)
}

// digestOf is a file's SHA-256, in hex, and its size.
func digestOf(name string) (string, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)), n, err
}
