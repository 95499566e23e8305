// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ChunkFiles returns the chunk files of a tenant and their size together. Schema v13 puts them in
// folders below one named after the tenant.
func ChunkFiles(store, tenant string) ([]string, int64, error) {
	var names []string
	var size int64
	err := filepath.WalkDir(filepath.Join(store, tenant), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		names = append(names, path)
		size += info.Size()
		return nil
	})
	return names, size, err
}

// DropCache makes the kernel forget what is in these files, and only these: other programs on the
// machine keep their page cache.
func DropCache(names []string) error {
	for _, name := range names {
		if err := dropFile(name); err != nil {
			return err
		}
	}
	return nil
}

func dropFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// CachedBytes counts what of these files is in the page cache.
func CachedBytes(names []string) (int64, error) {
	var total int64
	for _, name := range names {
		n, err := cachedPages(name)
		if err != nil {
			return 0, err
		}
		total += n * int64(os.Getpagesize())
	}
	return total, nil
}

func cachedPages(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Munmap(m) }()
	return residentPages(m)
}

// CheckDrop makes sure that cold is cold.
func CheckDrop(files []string) error {
	if err := DropCache(files); err != nil {
		return err
	}
	cached, err := CachedBytes(files)
	if err == nil && cached > 0 {
		return fmt.Errorf("the page cache keeps %d bytes of the store after fadvise: nothing here is cold", cached)
	}
	return err
}
