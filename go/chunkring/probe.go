// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"fmt"
	"os"
	"syscall"

	"github.com/go-kit/log/level"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/blockread"
	"github.com/chunkring/chunkring/go/internal/core"
)

// announce says once, at start, what an operator should know before the first query or flush fails:
// which back-end runs and why, the file system, and whether the directory can be read and written.
func (s *store) announce() {
	fsType := fileSystem(s.key.cfg.Directory)
	backend := *s.backend.Load()
	if reason := backend.fallbackReason; reason != "" {
		hint := "containers: allow io_uring in the seccomp profile; RHEL: sysctl kernel.io_uring_disabled=0"
		if core.Built != "cgo" {
			hint = "build with CGO_ENABLED=1 and a C compiler"
		}
		level.Warn(s.logger).Log("msg", "io_uring is not available, reading with threads instead",
			"reason", reason, "hint", hint, "directory", s.key.cfg.Directory)
	}
	if err := listable(s.key.cfg.Directory); err != nil {
		level.Warn(s.logger).Log("msg", "the chunk directory can't be listed: reading chunks needs search permission on every folder",
			"directory", s.key.cfg.Directory, "err", err)
	}
	if err := s.dir.CheckWritable(); err != nil {
		level.Warn(s.logger).Log("msg", "the chunk directory can't be written: chunks can be read, but not stored or deleted",
			"directory", s.key.cfg.Directory, "file_system", fsType, "uid", os.Getuid(), "err", err)
	}
	blocks, _ := blockread.InUse()
	level.Info(s.logger).Log("msg", "chunk store open", "directory", s.key.cfg.Directory, "file_system", fsType,
		"backend", backend.backend, "workers", s.reader.Workers(), "crc32c", core.CRC32CKernel(), "verified_decode", decodesVerified, "block_path", blocks,
		"partial_reads", decodesEnds && !s.key.cfg.WholeReads, "seal", s.key.cfg.Seal)
}

// backendInUse is what runs, and why it is not io_uring if that was wanted.
func (s *store) backendInUse() backendLabels {
	labels := backendLabels{backend: s.reader.Backend()}
	switch errno, step := s.reader.Fallback(); {
	case errno == 0 || s.key.cfg.Backend == BackendThreads:
	case core.Built != "cgo":
		labels.fallbackReason = step // the build, which has no errno
	default:
		labels.fallbackReason = fmt.Sprintf("%s: %s", step, errno.Error())
	}
	return labels
}

// noteFallback takes core.Times.Fallback after each read: an io_uring that ran may be left for good later on.
func (s *store) noteFallback(errno syscall.Errno) {
	old := s.backend.Load()
	if errno == 0 || old.fallbackReason != "" || s.key.cfg.Backend == BackendThreads {
		return
	}
	labels := s.backendInUse()
	if !s.backend.CompareAndSwap(old, &labels) {
		return // another read told
	}
	s.metrics.backend.add(labels, 1)
	s.metrics.backend.add(*old, -1)
	level.Warn(s.logger).Log("msg", "io_uring stopped working, reading with threads from now on: no chunk was lost by it",
		"reason", labels.fallbackReason, "directory", s.key.cfg.Directory)
}

func listable(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return f.Close()
}

// Magic numbers of linux/magic.h and statfs(2) that golang.org/x/sys lacks.
const (
	zfsMagic  = 0x2fc12fc1
	cifsMagic = 0xff534d42
	smb2Magic = 0xfe534d42
)

// fileSystem names the type of dir's file system: much of what can go wrong depends on it.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "unknown"
	}
	switch magic := uint32(st.Type); magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4" // or ext2, ext3: one number for all
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	case zfsMagic:
		return "zfs"
	case cifsMagic, smb2Magic:
		return "cifs"
	default:
		return fmt.Sprintf("unknown (0x%x)", magic)
	}
}
