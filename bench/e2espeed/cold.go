// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/bench/internal/lokiproc"
)

// How the page cache is emptied.
const (
	dropAuto    = "auto"
	dropCaches  = "caches"
	dropFadvise = "fadvise"
)

const dropCachesFile = "/proc/sys/vm/drop_caches"

// dropMode resolves auto.
func dropMode(mode string) (string, error) {
	switch mode {
	case dropAuto:
		if unix.Access(dropCachesFile, unix.W_OK) == nil {
			return dropCaches, nil
		}
		return dropFadvise, nil
	case dropCaches, dropFadvise:
		return mode, nil
	}
	return "", fmt.Errorf("-drop: %q is none of %s, %s, %s", mode, dropAuto, dropCaches, dropFadvise)
}

// describeDrop is for the header.
func describeDrop(mode string) string {
	if mode == dropCaches {
		return "sync and drop_caches before every query: file data, directories and inodes come from the disk"
	}
	return "posix_fadvise(DONTNEED) on every chunk file before every query: file data comes from the disk, directories and inodes stay cached"
}

// drop makes everything cold. files are the store's.
func drop(mode string, files []string) error {
	if mode == dropFadvise {
		return lokiproc.DropCache(files)
	}
	unix.Sync()
	return os.WriteFile(dropCachesFile, []byte("3"), 0)
}

// checkDrop makes sure that cold is cold. Pages that something maps would stay.
func checkDrop(mode string, files []string) error {
	if err := drop(mode, files); err != nil {
		return err
	}
	cached, err := lokiproc.CachedBytes(files)
	if err == nil && cached > 0 {
		return fmt.Errorf("the page cache keeps %d bytes of the chunks: nothing here would be cold", cached)
	}
	return err
}
