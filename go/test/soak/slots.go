// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"
)

// state is what lies under a chunk's name.
type state uint64

const (
	absent state = iota
	present
	damaged
	states
)

func (s state) String() string { return [...]string{"absent", "present", "damaged"}[s] }

// slot is one chunk of the corpus and what the store has of it. Whoever changes it holds change; readers
// look at now before and after they read, and where it is the same and settled they know what they must
// have got.
type slot struct {
	item
	key, path string

	change sync.Mutex
	now    atomic.Uint64 // version<<8 | changing<<7 | state
}

const changing = 1 << 7

func (s *slot) state() state { return state(s.now.Load() % changing) }

// begin marks that the slot changes, end that it has come to rest. s.change is held.
func (s *slot) begin() { s.now.Store(s.now.Load()>>8<<8 | changing | uint64(s.state())) }
func (s *slot) end(now state) {
	s.now.Store((s.now.Load()>>8+1)<<8 | uint64(now))
}

// settled says what the slot held all through a call, by now before and after it.
func settled(before, after uint64) (state, bool) {
	return state(before % changing), before == after && before&changing == 0
}

func makeSlots(dir string, items []item, schema config.SchemaConfig) []*slot {
	slots := make([]*slot, len(items))
	for i, it := range items {
		slots[i] = &slot{item: it, key: schema.ExternalKey(it.ref.ChunkRef),
			path: filepath.Join(dir, filepath.FromSlash(client.FSEncoder(schema, it.ref)))}
	}
	return slots
}

// damage puts something else under the chunk's name: what crashes, full disks and bad disks leave.
func (s *slot) damage(r *rand.Rand) error {
	b := append([]byte(nil), s.want...)
	switch r.IntN(5) {
	case 0:
		b = b[:len(b)/2]
	case 1:
		b = nil
	case 2:
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	case 3:
		b = append(b, "more"...)
	case 4:
		clear(b)
	}
	other := s.path + ".damaged"
	if err := withDescriptor(func() error { return os.WriteFile(other, b, 0o644) }); err != nil {
		return err
	}
	return os.Rename(other, s.path)
}

// fill puts two of three chunks in place, as another client may have done.
func fill(slots []*slot) error {
	for i, s := range slots {
		if i%3 == 2 {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(s.path), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(s.path, s.want, 0o644); err != nil {
			return err
		}
		s.end(present)
	}
	return nil
}

func (s *slot) exists() bool {
	_, err := os.Lstat(s.path)
	return err == nil
}

// expected says whether err is how a chunk in this state fails.
func (s state) expected(err error) bool {
	switch s {
	case absent:
		return errors.Is(err, fs.ErrNotExist)
	case damaged:
		return errors.Is(err, chunk.ErrInvalidChecksum)
	}
	return false
}

// onDisk compares the file with the slot's state, past everything under test.
func (s *slot) onDisk() error {
	var b []byte
	err := withDescriptor(func() (err error) { b, err = os.ReadFile(s.path); return err })
	switch now := s.state(); {
	case now == absent && errors.Is(err, fs.ErrNotExist):
	case now == present && err == nil && string(b) == string(s.want):
	case now == damaged && err == nil && string(b) != string(s.want):
	default:
		return fmt.Errorf("%s should be %v and is %d bytes (%w)", s.path, now, len(b), err)
	}
	return nil
}

// withDescriptor tries again while the hog has all descriptors: it is the test that wants one here.
func withDescriptor(call func() error) error {
	err := call()
	for end := time.Now().Add(time.Minute); errors.Is(err, syscall.EMFILE) && time.Now().Before(end); err = call() {
		time.Sleep(time.Millisecond)
	}
	return err
}

// whole decodes the chunk, for a put.
func (s *slot) whole() (chunk.Chunk, error) {
	c := s.ref
	err := c.Decode(chunk.NewDecodeContext(), s.want)
	return c, err
}

func gaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
