// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// ErrInvalidPath marks a path that must not be used below a store directory: absolute, too long or
// too deep, with a NUL or an empty, "." or ".." component, or named like a temporary file.
var ErrInvalidPath = errors.New("not a clean relative path inside the store")

// step names one system call of an operation. It stands in the error's Op, and it is where tests
// make an operation fail, wait or die.
type step string

const (
	stepCheckPath    step = "check path"
	stepOpenFolder   step = "open folder"
	stepMakeFolder   step = "make folder"
	stepSyncParent   step = "sync parent folder"
	stepCreate       step = "create temporary"
	stepWrite        step = "write temporary"
	stepSync         step = "sync temporary"
	stepClose        step = "close temporary"
	stepRename       step = "rename"
	stepSyncFolder   step = "sync folder"
	stepUnlink       step = "unlink"
	stepRemoveFolder step = "remove empty folder"
	stepSweep        step = "clean temporaries"
)

// fail names the operation, the step and the path of what went wrong. It is an *fs.PathError so
// that os.IsNotExist(errors.Cause(err)), Loki's test for not-found, sees the errno in it.
func (d *Dir) fail(verb string, s step, rel string, err error) error {
	return &fs.PathError{Op: verb + ": " + string(s), Path: d.path + "/" + rel, Err: err}
}

// do runs one system call, again for as long as a signal interrupts it: the Go runtime preempts
// goroutines with signals, and FUSE and NFS do return EINTR.
func (d *Dir) do(s step, call func() error) error {
	if d.fault != nil {
		if err := d.fault(s); err != nil {
			return err
		}
	}
	return ignoreEINTR(call)
}

func ignoreEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// isGone says that a name on the way vanished: a folder that a delete found empty, possibly on
// another NFS client (ESTALE), or a temporary file that a sweep with too short an age took.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE)
}
