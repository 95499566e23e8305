// SPDX-License-Identifier: Apache-2.0

// Package chunkfile owns every write and every delete below one store directory (Linux only).
//
//	dir.go    Dir: the root, containment, folders that appear (durably) and disappear
//	put.go    Put: temporary name, write, fsync, rename, fsync of the folder
//	delete.go Delete: unlink, then remove the folders this left empty
//	temp.go   temporary names and how leftovers of a crash go away
//	sync.go   fsync of folders, where there is one
//	error.go  the names of the steps, which every error carries
//
// # What holds, whatever happens
//
// "Crash" is the end of this process at any instruction (kill -9, OOM, panic elsewhere). "Power loss"
// is the end of the kernel; it also forgets everything that was not synced.
//
//  1. A final name holds an old content whole, a new content whole, or does not exist. It is never
//     torn and never empty in between: it is only ever the target of a rename of a finished, synced
//     file. A reader that opened the old file keeps reading the old bytes.
//  2. When Put returned nil, the content and every folder on the way to it survive a power loss, where
//     the file system can sync folders.
//  3. When Put returned an error before or at the step "rename", the final name is what it was. An
//     error at "sync folder", ErrNotDurable, means: the new content is in place and whole, but a power loss may still
//     bring the old state back (whole as well). Putting again is right after either.
//  4. A failed fsync is never tried again in the hope of a success: the kernel may have dropped the
//     dirty pages and marked them clean. The temporary file is thrown away; a later Put writes a new
//     one from memory. (EINTR is not a failed fsync; it is repeated, as in os.File.Sync.)
//
// The state on disk after a crash just before each step of Put:
//
//	open folder        nothing changed
//	make folder        nothing, or some of the (empty) parent folders
//	sync parent folder the same; a power loss may take the folder back, nobody was told it exists
//	create temporary   the same
//	write temporary    final name as before, plus one leftover of 0 or more bytes
//	sync temporary     the same
//	close temporary    the same
//	rename             the same
//	sync folder        final name is new and whole; after a power loss old (or none) or new, whole
//	(returned)         final name is new and whole, after a power loss too
//
// and of Delete:
//
//	unlink             nothing changed
//	remove empty folder the chunk is gone; empty folders may stay until the next Delete passes there
//
// Delete does not sync. After a power loss a chunk deleted in the last seconds may be back. That is
// harmless for Loki: the compactor deletes a chunk only after the index without it is stored, so no
// query can reach what came back, it only takes space, as with the stock client. And the list of
// chunks to delete is a file that goes away after them: on one journalled file system it cannot be
// gone while they are back, so the compactor deletes them once more. Syncing would cost a device
// flush per chunk on the compactor's longest loop.
//
// # Caches
//
// A Dir of OpenCache syncs nothing: 2 does not hold there, and after a power loss a name that was put shortly
// before may hold any bytes, or too few. 1 holds for crashes.
//
// # What is taken from the file system
//
// rename replaces atomically, and fsync of a folder makes its own entries durable. Put also syncs
// the parents of folders it creates, before anybody in this process can use them. Where two
// processes create the same folder at once, or one was killed between mkdir and that sync, the
// other relies on metadata being journalled in order (ext4, xfs, btrfs, f2fs, zfs, NFS servers).
// Some file systems can't sync a folder (FUSE, virtiofs, CIFS, and folders that may not be read): a put
// succeeds there and is as durable as that file system makes a rename. sync.go says by which errors it
// tells that from a failure, and Dir.NotSynced tells the caller. The file's own fsync, its close and the
// rename have no such answers: whatever they say but success is an error, as in the stock client.
//
// # Against the stock client
//
// Same names, folder modes (0777 &^ umask), file modes (0644 &^ umask), empty files allowed. What
// differs is meant: a final name that is a symbolic link is replaced, not written through; a put
// over an existing file gives it the default mode and breaks hard links; symbolic links among the
// folders are refused (ELOOP), as in the reads; a store directory that is removed and made again
// under a running process is not found again, since Dir holds the one it opened.
package chunkfile
