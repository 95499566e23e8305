// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/chunkfile"
)

const (
	markerName   = ".chunkring-cache.json" // no base64 has a dot; chunkctl knows the name, too
	markerFormat = 1
	lostAndFound = "lost+found" // of a new ext4; no tenant can have the name

	blockBytes = 4096 // what a file takes at least, and in steps of which

	freePart       = 20 // min_free_bytes by default: one of so many bytes,
	freeBytesLeast = 1 << 30
)

// Identity names the object store whose chunks a folder has copies of.
type Identity struct {
	Kind     string `json:"kind"` // s3, gcs, azure, ...
	Endpoint string `json:"endpoint"`
	Bucket   string `json:"bucket"`
	Prefix   string `json:"prefix"`
}

func (id Identity) String() string {
	return fmt.Sprintf("%s bucket %q at %q, prefix %q", id.Kind, id.Bucket, id.Endpoint, id.Prefix)
}

type marker struct {
	Format int `json:"format"`
	Identity
}

// folder is the directory of a cache, which this process alone writes to.
type folder struct {
	path string
	dir  *chunkfile.Dir
	lock *os.File
}

// openFolder makes the directory if it is missing, and takes it: it must be empty or this store's, and
// no other process's.
func openFolder(path string, id Identity) (*folder, error) {
	f := &folder{path: path}
	var err error
	if f.dir, err = chunkfile.OpenCache(path); err == nil {
		err = f.take(id)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *folder) take(id Identity) (err error) {
	if f.lock, err = os.Open(f.path); err != nil {
		return err
	}
	err = unix.Flock(int(f.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return fmt.Errorf("%s is in use by another process: give each process a disk_cache.directory of its own", f.path)
	}
	if err != nil {
		return &fs.PathError{Op: "lock", Path: f.path, Err: err}
	}
	switch text, err := os.ReadFile(f.file(markerName)); {
	case err == nil:
		return f.checkMarker(text, id)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := f.checkEmpty(); err != nil {
		return err
	}
	return f.mark(id)
}

func (f *folder) checkMarker(text []byte, id Identity) error {
	var m marker
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w: delete all that is in %s, or set disk_cache.directory to another folder", f.file(markerName), err, f.path)
	}
	if m.Format != markerFormat {
		return fmt.Errorf("%s is a cache of format %d, and this version knows format %d: delete all that is in it, or set disk_cache.directory to another folder",
			f.path, m.Format, markerFormat)
	}
	if m.Identity != id {
		return fmt.Errorf("%s has copies of another store's chunks: of %s; this store is %s: delete all that is in it, or set disk_cache.directory to another folder",
			f.path, m.Identity, id)
	}
	return nil
}

// checkEmpty lets pass what a new file system has, and a killed process of before the marker.
func (f *folder) checkEmpty() error {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lostAndFound && !chunkfile.IsTemporary(e.Name()) {
			return fmt.Errorf("%s is not empty and not a cache (there is %q, and no %s): set disk_cache.directory to an empty folder, since files of a cache are deleted",
				f.path, e.Name(), markerName)
		}
	}
	return nil
}

// mark makes the folder this store's, durably: it is the only file here that could not be fetched again.
func (f *folder) mark(id Identity) error {
	if err := os.Chmod(f.path, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) { // a mount point may be somebody else's
		return err
	}
	text, err := json.Marshal(marker{markerFormat, id})
	if err != nil {
		return err
	}
	durable, err := chunkfile.Open(f.path)
	if err != nil {
		return err
	}
	err = durable.Put(context.Background(), markerName, append(text, '\n'))
	_ = durable.Close()
	if err != nil {
		return err
	}
	return os.Chmod(f.file(markerName), 0o600)
}

func (f *folder) close() {
	if f.dir != nil {
		_ = f.dir.Close() // nothing is written through it any more
	}
	if f.lock != nil {
		_ = f.lock.Close() // and unlocked
	}
}

func (f *folder) file(rel string) string { return filepath.Join(f.path, rel) }

// put writes a file, and returns what it takes on the disk.
func (f *folder) put(rel string, data []byte) (uint64, error) {
	blocks, err := f.dir.PutSized(context.Background(), rel, data)
	if err != nil {
		return 0, err
	}
	return allocated(int64(len(data)), blocks), nil
}

// remove deletes a file. One that is not there is no error.
func (f *folder) remove(rel string) error {
	if err := f.dir.Delete(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// has reports whether a regular file of that many bytes is there.
func (f *folder) has(rel string, bytes int) bool {
	info, err := os.Lstat(f.file(rel))
	return err == nil && info.Mode().IsRegular() && info.Size() == int64(bytes)
}

// free is what users may still write on the file system, and what must stay free of it.
func (f *folder) free(minFree uint64) (avail, least uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.lock.Fd()), &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: f.path, Err: err}
	}
	if minFree == 0 {
		minFree = max(st.Blocks*uint64(st.Bsize)/freePart, freeBytesLeast)
	}
	return st.Bavail * uint64(st.Bsize), minFree, nil
}

// sizeOf is what a file takes on the disk. Some file systems tell it late (ZFS) or not at all.
func sizeOf(info fs.FileInfo) uint64 {
	blocks := int64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		blocks = st.Blocks
	}
	return allocated(info.Size(), blocks)
}

func allocated(bytes, blocks int64) uint64 {
	const statBlock = 512
	whole := (uint64(bytes) + blockBytes - 1) / blockBytes * blockBytes
	return max(whole, uint64(blocks)*statBlock)
}

// isOurs: what lies in the folder besides copies.
func isOurs(rel string) bool { return rel == markerName || rel == lostAndFound }
