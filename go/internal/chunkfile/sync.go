// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrNotDurable: the new content is in place under its name, whole, but the fsync of its folder failed, so a
// power loss may bring the old state back. Putting again is right.
var ErrNotDurable = errors.New("the file is in place, but may not survive a power loss")

// syncFolder makes a folder's entries durable, or finds that its file system can't. What that means for a
// put is that file system's promise about renames, which nobody can improve: an error would only make the
// store useless there. So it counts as done and is reported.
func (d *Dir) syncFolder(s step, fd int, folder string) error {
	if d.cache {
		return nil
	}
	err := d.do(s, func() error { return d.sys.fsync(fd) })
	if err == nil {
		return nil
	}
	reason := cannotSync(fd, err)
	if reason == nil {
		return err
	}
	if d.NotSynced != nil {
		d.NotSynced(folder, reason)
	}
	return nil
}

// cannotSync tells "this file system has no fsync of folders", for which it returns the reason, from "the
// fsync failed", nil. Databases ignore the same answers, of folders only: PostgreSQL EBADF and EINVAL,
// others EOPNOTSUPP too. Everything else is a failure: EIO, ENOSPC, EDQUOT and ESTALE mean that something
// was to be written and was not, EROFS that the journal was shut down after an error.
func cannotSync(fd int, err error) (reason error) {
	switch err {
	case unix.EINVAL, unix.EOPNOTSUPP, unix.ENOSYS: // no such operation (CIFS, some FUSE file systems)
		return err
	case unix.EACCES, unix.EPERM: // servers that flush only what was opened for writing, which folders never are
		return err
	case unix.EBADF: // virtiofs, for the same reason; and ourselves, when the number is not open
		flags, closed := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if closed != nil {
			return nil
		}
		if flags&unix.O_PATH != 0 { // of readOrPath
			return unix.EACCES
		}
		return err
	}
	return nil
}

// openFolderToSync opens a folder below the root to change and then sync it. The caller closes it.
func (d *Dir) openFolderToSync(folder string) (int, error) {
	return readOrPath(func(flags int) (int, error) { return d.openFolder(folder, flags) })
}

// readOrPath opens a folder for reading, as fsync wants it. One that may be written and searched but not
// read (mode 0333) can be changed all the same, only not synced: that is an O_PATH descriptor.
func readOrPath(open func(flags int) (int, error)) (fd int, err error) {
	for _, flags := range []int{unix.O_RDONLY, unix.O_PATH} {
		err = ignoreEINTR(func() (err error) {
			fd, err = open(flags)
			return err
		})
		if err != unix.EACCES {
			break
		}
	}
	return fd, err
}
