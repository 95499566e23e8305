// SPDX-License-Identifier: Apache-2.0

// Package coldcache makes the kernel forget what it has of files, so that the next read waits for the disk.
package coldcache

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// How is a way to empty the page cache.
type How string

// The ways. Auto is Caches where this process may, else Fadvise.
const (
	Auto    How = "auto"
	Caches  How = "caches"  // all of the kernel's: file data, directories and inodes; root only
	Fadvise How = "fadvise" // the data of the named files; directories and inodes stay cached
)

const dropCaches = "/proc/sys/vm/drop_caches"

// Choose resolves Auto, and refuses what is no way.
func Choose(how How) (How, error) {
	switch how {
	case Auto:
		if unix.Access(dropCaches, unix.W_OK) == nil {
			return Caches, nil
		}
		return Fadvise, nil
	case Caches, Fadvise:
		return how, nil
	}
	return "", fmt.Errorf("%q is none of %s, %s, %s", how, Auto, Caches, Fadvise)
}

// Describe says for a report what is cold.
func (h How) Describe() string {
	if h == Caches {
		return "sync and drop_caches=3: file data, directories and inodes come from the disk"
	}
	return "fsync and posix_fadvise(DONTNEED): file data comes from the disk, directories and inodes stay cached"
}

// Drop makes these files cold. It syncs first: the kernel keeps what is not on the disk yet.
func (h How) Drop(files []string) error {
	if h == Caches {
		unix.Sync()
		if err := os.WriteFile(dropCaches, []byte("3"), 0); err != nil {
			return fmt.Errorf("the page cache can't be dropped: %w (root may)", err)
		}
		return nil
	}
	for _, name := range files {
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
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// Check fails where more than 2 % of these files are in the page cache: what somebody maps or reads
// meanwhile stays.
func Check(files []string) error {
	cached, size, err := cachedBytes(files)
	if err == nil && cached > size/50 {
		return fmt.Errorf("%d of %d bytes are still in the page cache after it was dropped: nothing here would be cold", cached, size)
	}
	return err
}

// cachedBytes counts what of these files is in the page cache, and their sizes.
func cachedBytes(files []string) (cached, size int64, err error) {
	for _, name := range files {
		n, all, err := cachedPages(name)
		if err != nil {
			return 0, 0, err
		}
		cached, size = cached+n*int64(os.Getpagesize()), size+all
	}
	return cached, size, nil
}

func cachedPages(name string) (pages, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, 0, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = unix.Munmap(m) }()
	pages, err = residentPages(m)
	return pages, info.Size(), err
}
