// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/test/lokiproc"
	"github.com/chunkring/chunkring/go/test/objectstore"
	"github.com/chunkring/chunkring/go/test/slowfs"
)

const (
	disksLoad  = 16 * time.Second
	disksSick  = disksLoad / 8 // after the load began the disk turns bad,
	disksWell  = disksLoad / 2 // and good again
	disksRoom  = 256 << 10     // less than the chunks are
	writeAgain = time.Minute   // a pause of writing is over before that
)

// disks runs Lokis over an S3 stub whose disk caches lie on disks that are full, small, or fail. All answers are those
// of a stock Loki over the same bucket, and the metrics tell what went on.
func (t *test) disks(ctx context.Context) error {
	if t.self {
		return nil // it has no disk cache
	}
	if os.Geteuid() != 0 {
		t.say("disks: left out: file systems can be mounted by root only")
		return nil
	}
	stub, err := t.startStub()
	if err != nil {
		return err
	}
	defer stub.close()
	if err := t.fillBucket(ctx, stub.address); err != nil {
		return fmt.Errorf("disks, written: %w", err)
	}
	expected, err := t.expectedOf(ctx, stub.address)
	if err != nil {
		return fmt.Errorf("disks, stock: %w", err)
	}
	for i, step := range []struct {
		name string
		run  func(ctx context.Context, d *disk, expected []expectation) error
	}{
		{"max_bytes less than the chunks", t.smallQuota},
		{"a full file system", t.fullDisk},
		{"no inodes", t.noInodes},
		{"read-only under load", t.readOnlyDisk},
		{"reads that fail under load", t.failingReads},
	} {
		d := &disk{dir: filepath.Join(t.Root, "disks", fmt.Sprint(i)), stub: stub.address, name: step.name}
		err := os.MkdirAll(d.dir, 0o777)
		if err == nil {
			err = step.run(ctx, d, expected)
		}
		if d.loki != nil {
			d.loki.Kill()
		}
		if err = errors.Join(err, d.unmount()); err != nil {
			return fmt.Errorf("disks, %s: %w", step.name, err)
		}
	}
	return nil
}

// stub is the S3 server of this process.
type stub struct {
	address string
	close   func()
}

func (t *test) startStub() (*stub, error) {
	dir := filepath.Join(t.Root, "stub")
	if err := os.MkdirAll(filepath.Join(dir, objectsBucket), 0o777); err != nil {
		return nil, err
	}
	objects, err := objectstore.New(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, objects.Close())
	}
	web := &http.Server{Handler: objects}
	go func() { _ = web.Serve(l) }() // until it is closed
	return &stub{l.Addr().String(), func() {
		_ = web.Close()     // clients are gone
		_ = objects.Close() // and nothing is open
	}}, nil
}

func (t *test) fillBucket(ctx context.Context, address string) error {
	p, err := t.Start(ctx, t.stockLoki, "disks write", lokiproc.Config{S3: address, Bucket: objectsBucket})
	if err != nil {
		return err
	}
	if err := lokiproc.Push(ctx, p, objectsTenant, t.corpus.pushBatches(3000, 0, 1)); err != nil {
		return err
	}
	if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
		return err
	}
	return p.Stop()
}

// disk is a folder for a cache, and what is mounted in it.
type disk struct {
	name, dir, stub string
	loki            *lokiproc.Proc
	mounted         []string
	slow            *slowfs.FS
}

func (d *disk) mount(source, at, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, at, kind, flags, data); err != nil {
		return &os.PathError{Op: "mount", Path: at, Err: err}
	}
	d.mounted = append(d.mounted, at)
	return nil
}

// unmount takes away what is mounted. No process uses it any more.
func (d *disk) unmount() (err error) {
	if d.slow != nil {
		err, d.slow = d.slow.Close(), nil
	}
	for len(d.mounted) > 0 {
		last := len(d.mounted) - 1
		err = errors.Join(err, unix.Unmount(d.mounted[last], unix.MNT_DETACH))
		d.mounted = d.mounted[:last]
	}
	return err
}

// startOn starts a Loki whose cache lies on the disk.
func (t *test) startOn(ctx context.Context, d *disk, maxBytes int) (err error) {
	b := t.oursLoki
	b.Backend = ""
	d.loki, err = t.Start(ctx, b, "disks "+d.name, lokiproc.Config{S3: d.stub, Bucket: objectsBucket, DiskCache: d.dir,
		CacheBytes: maxBytes, CacheFree: 1})
	return err
}

// diskUse is what a disk cache says of its disk.
type diskUse struct{ written, evicted, dropped, readErrors, changeErrors, pauses, paused, bytes float64 }

func diskUseOf(ctx context.Context, p *lokiproc.Proc) (diskUse, error) {
	m, err := p.Metrics(ctx)
	const name = "chunkring_disk_cache_"
	return diskUse{
		written: m.Sum(name + "written_chunks_total"), evicted: m.Sum(name + "evicted_chunks_total"), dropped: m.Sum(name + "dropped_total"),
		readErrors: m.Sum(name+"errors_total", `operation="read"`), changeErrors: m.Sum(name+"errors_total", `operation="write"`) + m.Sum(name+"errors_total", `operation="delete"`),
		pauses: m.Sum(name + "pauses_total"), paused: m.Sum(name + "paused"), bytes: m.Sum(name + "bytes"),
	}, err
}

func (u diskUse) String() string {
	return fmt.Sprintf("%v written, %v evicted, %v dropped; %v reads and %v writes and deletes failed, %v pauses", u.written, u.evicted, u.dropped, u.readErrors, u.changeErrors, u.pauses)
}

// twice has the Loki answer everything twice, and wants what is true of its disk then.
func (t *test) twice(ctx context.Context, d *disk, expected []expectation, want func(u diskUse) bool) error {
	for range 2 {
		if _, err := t.allRight(ctx, d.loki, expected); err != nil {
			return err
		}
	}
	u, err := diskUseOf(ctx, d.loki)
	if err != nil {
		return err
	}
	if !want(u) {
		return fmt.Errorf("%s: %s", d.loki.Label, u)
	}
	t.say("disks: %s: %d right answers; %s", d.name, 2*len(expected), u)
	return nil
}

func (t *test) smallQuota(ctx context.Context, d *disk, expected []expectation) error {
	if err := t.startOn(ctx, d, disksRoom); err != nil {
		return err
	}
	if err := t.twice(ctx, d, expected, func(u diskUse) bool {
		return u.evicted > 0 && u.bytes <= disksRoom && u.bytes > disksRoom/2 && u.changeErrors == 0 && u.pauses == 0
	}); err != nil {
		return err
	}
	_, size, err := lokiproc.ChunkFiles(filepath.Join(d.dir, "s3"), objectsTenant)
	if err == nil && size > disksRoom {
		err = fmt.Errorf("copies of %d bytes", size)
	}
	return err
}

// fullDisk: the cache may take more than the file system has. It reckons with that, so no write fails.
func (t *test) fullDisk(ctx context.Context, d *disk, expected []expectation) error {
	if err := d.mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", disksRoom)); err != nil {
		return err
	}
	if err := t.startOn(ctx, d, 1<<30); err != nil {
		return err
	}
	return t.twice(ctx, d, expected, func(u diskUse) bool { return u.written > 0 && u.evicted > 0 && u.bytes <= disksRoom && u.pauses == 0 })
}

// noInodes: no reckoning tells of these. Each write that fails has copies make room, so the next one does not.
func (t *test) noInodes(ctx context.Context, d *disk, expected []expectation) error {
	if err := d.mount("tmpfs", d.dir, "tmpfs", 0, "nr_inodes=40"); err != nil {
		return err
	}
	if err := t.startOn(ctx, d, 1<<30); err != nil {
		return err
	}
	return t.twice(ctx, d, expected, func(u diskUse) bool {
		return u.written > 0 && u.evicted > 0 && u.changeErrors > 0 && u.dropped >= u.changeErrors
	})
}

// sickUnderLoad has a disk turn bad and good again while the Loki is asked. No request may be refused.
func (t *test) sickUnderLoad(ctx context.Context, d *disk, expected []expectation, sick, well func() error) (before, after diskUse, err error) {
	if _, err := t.allRight(ctx, d.loki, expected); err != nil {
		return before, after, err
	}
	if before, err = diskUseOf(ctx, d.loki); err != nil {
		return before, after, err
	}
	answered, refused, err := t.underLoad(ctx, []*lokiproc.Proc{d.loki}, expected, func(ctx context.Context, _ *atomic.Int64) error {
		return onSchedule(ctx, map[time.Duration]func() error{
			disksSick: sick,
			disksWell: func() (err error) {
				if after, err = diskUseOf(ctx, d.loki); err != nil {
					return err
				}
				return well()
			},
			disksLoad: func() error { return nil },
		})
	})
	if err == nil && refused > 0 {
		err = fmt.Errorf("%s: %d requests failed; a bad disk is no reason", d.loki.Label, refused)
	}
	t.say("disks: %s: %d answers under load, all right; when the disk was well again: %s", d.name, answered, after)
	return before, after, err
}

// readOnlyDisk: as a disk that the kernel has given up. The cache is smaller than the chunks, so it always writes.
func (t *test) readOnlyDisk(ctx context.Context, d *disk, expected []expectation) error {
	if err := d.mount("tmpfs", d.dir, "tmpfs", 0, "size=64m"); err != nil {
		return err
	}
	if err := t.startOn(ctx, d, disksRoom); err != nil {
		return err
	}
	remount := func(flags uintptr) func() error {
		return func() error { // EBUSY while a file is being written
			for end := time.Now().Add(writeAgain); ; time.Sleep(time.Millisecond) {
				err := unix.Mount("tmpfs", d.dir, "tmpfs", unix.MS_REMOUNT|flags, "size=64m")
				if err != unix.EBUSY || time.Now().After(end) {
					return err
				}
			}
		}
	}
	before, after, err := t.sickUnderLoad(ctx, d, expected, remount(unix.MS_RDONLY), remount(0))
	if err != nil {
		return err
	}
	if after.changeErrors == before.changeErrors || after.pauses == 0 || after.paused != 1 || before.pauses > 0 {
		return fmt.Errorf("%s: %s before, %s while the disk was read-only", d.loki.Label, before, after)
	}
	return t.writesAgain(ctx, d, expected, after)
}

// writesAgain waits until the pause is over and copies are written.
func (t *test) writesAgain(ctx context.Context, d *disk, expected []expectation, was diskUse) error {
	return d.loki.Poll(ctx, writeAgain, "write to its disk again", func() (bool, error) {
		if _, err := t.allRight(ctx, d.loki, expected); err != nil {
			return false, err
		}
		u, err := diskUseOf(ctx, d.loki)
		return u.written > was.written && u.paused == 0, err
	})
}

// failingReads: each read of a copy is EIO, and in the end the copies are hits again.
func (t *test) failingReads(ctx context.Context, d *disk, expected []expectation) error {
	if err := slowfs.Unavailable(); err != nil {
		t.say("disks: %s: left out: %v", d.name, err)
		return nil
	}
	if err := t.startOn(ctx, d, 1<<30); err != nil {
		return err
	}
	copies, below := filepath.Join(d.dir, "s3", objectsTenant), filepath.Join(t.Root, "disks", "below")
	if err := os.MkdirAll(below, 0o777); err != nil {
		return err
	}
	sick := func() (err error) {
		if err := d.mount(copies, below, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		d.slow, err = slowfs.Mount(below, copies, slowfs.Options{Fail: func(op slowfs.Op, _ string) syscall.Errno {
			if op == slowfs.Read {
				return syscall.EIO
			}
			return 0
		}})
		return err
	}
	well := func() error {
		// Detached: a reader may be in it this moment.
		if err := unix.Unmount(copies, unix.MNT_DETACH); err != nil {
			return err
		}
		d.slow = nil
		return nil
	}
	before, after, err := t.sickUnderLoad(ctx, d, expected, sick, well)
	if err != nil {
		return err
	}
	if before.readErrors > 0 || after.readErrors == 0 {
		return fmt.Errorf("%s: %s before, %s while reads failed", d.loki.Label, before, after)
	}
	use, err := t.allRight(ctx, d.loki, expected)
	if err == nil && !use.isWarm() {
		err = fmt.Errorf("%s: with its disk well again: %s", d.loki.Label, use)
	}
	return err
}
