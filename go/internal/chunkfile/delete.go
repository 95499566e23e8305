// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"io/fs"
	"path"

	"golang.org/x/sys/unix"
)

const verbDelete = "delete chunk"

// Delete removes the file rel, then the folders above it that this left empty, but never the store
// directory. It never removes a directory that rel itself names, nor anything recursively.
//
// A missing file or folder gives an error for which os.IsNotExist(errors.Cause(err)) and
// errors.Is(err, fs.ErrNotExist) hold. As with the stock client, an error may also come after the
// file is gone, when an empty folder cannot be removed (Op says "remove empty folder"); deleting
// again then gives not-found. Delete is not durable by itself; the package comment says why.
func (d *Dir) Delete(rel string) error {
	folder, name, err := splitPath(rel)
	if err != nil {
		return d.fail(verbDelete, stepCheckPath, rel, err)
	}
	if !d.enter() {
		return d.fail(verbDelete, stepOpenFolder, rel, fs.ErrClosed)
	}
	defer d.leave()
	at, err := d.unlink(folder, name)
	for attempt := 1; err == unix.ESTALE && attempt < staleAttemptsMax; attempt++ {
		at, err = d.unlink(folder, name) // another NFS client replaced the folder: look it up again
	}
	if err != nil {
		return d.fail(verbDelete, at, rel, err)
	}
	return d.removeEmptyFolders(verbDelete, rel, folder)
}

// staleAttemptsMax bounds the look-ups of a folder that other NFS clients keep replacing.
const staleAttemptsMax = 4

// unlink removes a name of a folder, or says which step failed.
func (d *Dir) unlink(folder, name string) (step, error) {
	fd := -1
	err := d.do(stepOpenFolder, func() (err error) {
		fd, err = d.openFolder(folder, unix.O_PATH)
		return err
	})
	if err != nil {
		return stepOpenFolder, err
	}
	defer unix.Close(fd)
	return stepUnlink, d.do(stepUnlink, func() error { return d.sys.unlinkat(fd, name, 0) })
}

// removeEmptyFolders removes folder and its parents for as long as they are empty. It asks rmdir
// instead of looking first: the answer would be old at once. A crash's leftovers in the lowest
// folder do not count, when they are old enough.
func (d *Dir) removeEmptyFolders(verb, rel, folder string) error {
	lowest := folder
	for ; folder != ""; folder = parent(folder) {
		err := d.removeFolder(folder)
		if isNotEmpty(err) && folder == lowest && d.cleanFew(folder) > 0 {
			err = d.removeFolder(folder)
		}
		switch {
		case err == nil || isGone(err): // or another delete was faster
		case isNotEmpty(err) || err == unix.EBUSY: // in use, or an operator's mount point
			return nil
		default:
			return d.fail(verb, stepRemoveFolder, rel, err)
		}
	}
	return nil
}

func (d *Dir) removeFolder(folder string) error {
	lock := d.lockOf(folder)
	lock.Lock()
	defer lock.Unlock()
	return d.do(stepRemoveFolder, func() error {
		above, err := d.openFolder(parent(folder), unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(above)
		return d.sys.unlinkat(above, path.Base(folder), unix.AT_REMOVEDIR)
	})
}

// isNotEmpty: POSIX lets rmdir use either.
func isNotEmpty(err error) bool { return err == unix.ENOTEMPTY || err == unix.EEXIST }
