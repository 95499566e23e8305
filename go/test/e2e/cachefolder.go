// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	damageEach   = 8               // files in each way
	damageAt     = 3 * time.Second // after the load began
	damageLoad   = 12 * time.Second
	foreignBytes = "this is no chunk"
)

// cacheUse is what a disk cache did.
type cacheUse struct{ hits, misses, damaged, written float64 }

func useOf(ctx context.Context, p *lokiproc.Proc) (cacheUse, error) {
	m, err := p.Metrics(ctx)
	const name = "chunkring_disk_cache_chunks_total"
	return cacheUse{
		hits:    m.Sum(name, `result="hit"`),
		misses:  m.Sum(name, `result="miss"`),
		damaged: m.Sum("chunkring_disk_cache_damaged_chunks_total"),
		written: m.Sum("chunkring_disk_cache_written_chunks_total"),
	}, err
}

func (u cacheUse) minus(o cacheUse) cacheUse {
	return cacheUse{u.hits - o.hits, u.misses - o.misses, u.damaged - o.damaged, u.written - o.written}
}

// isWarm: all was found. One of the queries reads every chunk, so nothing is missing after the first pass.
func (u cacheUse) isWarm() bool { return u.hits > 0 && u.misses == 0 }

func (u cacheUse) String() string {
	return fmt.Sprintf("%v hits, %v misses, %v damaged, %v written", u.hits, u.misses, u.damaged, u.written)
}

// damagedFiles changes files of a reader's cache while it is asked: every answer stays right, what was
// damaged is counted, and in the end each file that can be replaced has the object's bytes again.
func (t *test) damagedFiles(ctx context.Context, s *scalable, expected []expectation) error {
	if t.self {
		return nil
	}
	victim := s.readers[0]
	victim.Excuses = append(victim.Excuses, "a damaged copy is deleted and fetched again")
	before, err := useOf(ctx, victim)
	if err != nil {
		return err
	}
	var d *damage
	answered, refused, err := t.underLoad(ctx, []*lokiproc.Proc{victim}, expected, func(ctx context.Context, _ *atomic.Int64) error {
		return onSchedule(ctx, map[time.Duration]func() error{
			damageAt: func() (err error) {
				d, err = t.damage(victim)
				return err
			},
			damageLoad: func() error { return nil },
		})
	})
	if err != nil {
		return err
	}
	if refused > 0 {
		return fmt.Errorf("%s: %d requests failed; damaged copies are no reason", victim.Label, refused)
	}
	if _, err := t.allRight(ctx, victim, expected); err != nil {
		return err
	}
	after, err := useOf(ctx, victim)
	if err != nil {
		return err
	}
	use := after.minus(before)
	t.say("objects: %d answers while files of the cache were damaged, all right; %s: %s", answered, victim.Name, use)
	if use.damaged < float64(len(d.replaced)) {
		return fmt.Errorf("%s: %d files were damaged, and %v found damaged", victim.Label, len(d.replaced), use.damaged)
	}
	return d.check()
}

// damage is what was done to a folder.
type damage struct {
	replaced map[string]string // files that are to have an object's bytes again, and the objects
	target   string            // of the symbolic links; outside
}

// damage flips bits, cuts files off, and puts symbolic links, folders and foreign files in their places.
func (t *test) damage(p *lokiproc.Proc) (*damage, error) {
	dir := filepath.Join(p.Cfg.DiskCache, "s3") // each object store of the schema has a folder of its own
	files, _, err := lokiproc.ChunkFiles(dir, objectsTenant)
	if err != nil {
		return nil, err
	}
	d := &damage{replaced: map[string]string{}, target: filepath.Join(t.Root, "outside-the-cache")}
	if err := os.WriteFile(d.target, []byte(foreignBytes), 0o666); err != nil {
		return nil, err
	}
	ways := []func(file string) error{
		flipBit,
		func(file string) error { return os.Truncate(file, 100) },
		func(file string) error { return os.Truncate(file, 0) },
		func(file string) error { return os.WriteFile(file, []byte(foreignBytes), 0o600) },
		func(file string) error { return errors.Join(os.Remove(file), os.Symlink(d.target, file)) },
		func(file string) error {
			return errors.Join(os.Remove(file), os.Mkdir(file, 0o700), os.WriteFile(filepath.Join(file, "inside"), nil, 0o600))
		},
	}
	const replaceable = 5 // of the ways: a folder with something in it is not the cache's to delete
	if len(files) < damageEach*len(ways) {
		return nil, fmt.Errorf("%s has only %d files", dir, len(files))
	}
	// Evenly over all: the queries read most of them.
	step := len(files) / (damageEach * len(ways))
	for i := range damageEach * len(ways) {
		file, way := files[i*step], i%len(ways)
		if err := ways[way](file); err != nil {
			return nil, err
		}
		if way < replaceable {
			if d.replaced[file], err = t.objectOf(dir, file); err != nil {
				return nil, err
			}
		}
	}
	// And what nobody asks for.
	return d, errors.Join(os.WriteFile(filepath.Join(filepath.Dir(files[0]), "foreign"), []byte(foreignBytes), 0o600),
		os.Symlink("/", filepath.Join(dir, objectsTenant, "root")))
}

func flipBit(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], info.Size()/2)
	if err == nil {
		b[0] ^= 0x10
		_, err = f.WriteAt(b[:], info.Size()/2)
	}
	return errors.Join(err, f.Close())
}

// objectOf is the file that the S3 server has of a chunk, whose copy's name ends in base64.
func (t *test) objectOf(dir, file string) (string, error) {
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		return "", err
	}
	folder, name := filepath.Split(rel)
	key, err := base64.StdEncoding.DecodeString(name)
	return filepath.Join(t.s3Dir(), objectsBucket, folder, string(key)), err
}

// check: the copies are right, and nothing was written through a symbolic link.
func (d *damage) check() error {
	for file, object := range d.replaced {
		want, err := os.ReadFile(object)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("a damaged copy was not replaced: %w", err)
		}
		if !bytes.Equal(want, got) {
			return fmt.Errorf("%s is still damaged", file)
		}
	}
	got, err := os.ReadFile(d.target)
	if err == nil && string(got) != foreignBytes {
		err = fmt.Errorf("%s was written through a symbolic link", d.target)
	}
	return err
}
