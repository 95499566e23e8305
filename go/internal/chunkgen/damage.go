// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Planted is a file that Damage damaged.
type Planted struct {
	Path    string // where the file is now; it may have been moved
	What    string // was done to it
	Finding string // what chunkctl verify calls it, among others
}

// Defects is how many kinds of damage Damage knows.
var Defects = len(defects)

// Damage damages the first n chunks of a store, each in another way: what crashes, failing disks and
// people do to files. The store must be nested (schema v12 and later) and freshly written.
func Damage(x *Index, n int) ([]Planted, error) {
	if n > len(defects) || n > len(x.Refs) {
		return nil, fmt.Errorf("damaging %d of %d chunks: there are %d defects", n, len(x.Refs), len(defects))
	}
	var all []Planted
	for i, d := range defects[:n] {
		ref := x.Refs[i]
		if schema, err := strconv.Atoi(ref.Schema[1:]); err != nil || schema < 12 {
			return all, fmt.Errorf("schema %s has no folders to misplace chunks in", ref.Schema)
		}
		path, err := d.plant(x.Path(ref))
		if err != nil {
			return all, err
		}
		all = append(all, Planted{path, d.what, d.finding})
	}
	return all, nil
}

type damage struct {
	what, finding string
	plant         func(path string) (now string, err error)
}

var defects = []damage{
	{"emptied", "empty", change(func([]byte) []byte { return nil })},
	{"cut to 1 byte", "truncated", change(func(b []byte) []byte { return b[:1] })},
	{"cut to 100 bytes", "truncated", change(func(b []byte) []byte { return b[:100] })},
	{"cut in the middle", "data_length", change(func(b []byte) []byte { return b[:len(b)/2] })},
	{"cut by 1 byte", "data_length", change(func(b []byte) []byte { return b[:len(b)-1] })},
	{"a byte more at its end", "data_length", change(func(b []byte) []byte { return append(b, 0) })},
	{"twice in one file", "data_length", change(func(b []byte) []byte { return append(b, b...) })},
	{"all zeros", "zeros", change(func(b []byte) []byte { return make([]byte, len(b)) })},
	{"zeros from the middle on", "zeros", change(func(b []byte) []byte { clear(b[len(b)/2:]); return b })},
	{"metadata length 0", "meta_length", change(func(b []byte) []byte { clear(b[:4]); return b })},
	{"a bit flipped in the first snappy frame's header", "meta_frame", flip(4)},
	{"a bit flipped in the metadata", "meta_frame_crc", flip(18)},
	{"a bit flipped in a block", "block_crc", change(func(b []byte) []byte { b[len(b)/2] ^= 1; return b })},
	{"a bit flipped in the block metas' checksum", "metas_crc", flip(-34)},
	{"a bit flipped in the footer", "metas_range", flip(-16)},
	{"a bit flipped in the magic number", "magic", change(func(b []byte) []byte {
		return bytes.Replace(b, []byte("\x01\x2e\xe5\x6a"), []byte("\x01\x2e\xe5\x6b"), 1)
	})},
	{"renamed to .bak", "name", moveTo(func(p string) string { return p + ".bak" })},
	{"moved out of its stream's folder", "misplaced", moveTo(func(p string) string {
		return filepath.Join(filepath.Dir(filepath.Dir(p)), filepath.Base(p))
	})},
	{"moved to another stream's folder", "wrong_key", moveTo(func(p string) string {
		return filepath.Join(filepath.Dir(filepath.Dir(p)), "abcdef", filepath.Base(p))
	})},
	{"a symbolic link in its place", "symlink", func(path string) (string, error) {
		if err := os.Remove(path); err != nil {
			return "", err
		}
		return path, os.Symlink("/dev/null", path)
	}},
}

func change(how func(b []byte) []byte) func(string) (string, error) {
	return func(path string) (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		return path, os.WriteFile(path, how(b), 0o644)
	}
}

// flip changes one bit; at counts from the end when it is negative.
func flip(at int) func(string) (string, error) {
	return change(func(b []byte) []byte {
		if at < 0 {
			b[len(b)+at] ^= 1
		} else {
			b[at] ^= 1
		}
		return b
	})
}

func moveTo(name func(path string) string) func(string) (string, error) {
	return func(path string) (string, error) {
		to := name(path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		return to, os.Rename(path, to)
	}
}
