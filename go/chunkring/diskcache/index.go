// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"hash/maphash"
	"sync"
	"syscall"

	"github.com/prometheus/common/model"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/core"
)

// earlyHitsMax bounds the hits that are remembered until the walk has found their files.
const earlyHitsMax = 1 << 20

// index knows the folder's files: how large they are, which goes next, and what it is called. Of a chunk that it
// has, the folder says whether the file is there and sound. One that it does not have is not looked for: nobody but
// this process writes there, and a miss would cost an open.
type index struct {
	mu       sync.Mutex // never held over IO
	seed     maphash.Seed
	evict    *core.Evict
	refs     []fileRef // by slot
	tenants  []string  // by number - 1
	tenantNo map[string]uint32
	early    []uint64 // hashes of hits until the walk is over
	walked   bool
	complete bool // what is not known is not there: the walk has seen all, and nothing else in a file's place
}

// fileRef is a logproto.ChunkRef in 32 bytes that the garbage collector need not look into.
type fileRef struct {
	fingerprint   uint64
	from, through model.Time
	checksum      uint32
	tenant        uint32 // 0: the slot is free
}

func newIndex(filesMax int) (*index, error) {
	evict, err := core.OpenEvict(uint32(filesMax))
	if err != nil {
		return nil, err
	}
	return &index{seed: maphash.MakeSeed(), evict: evict, tenantNo: map[string]uint32{}}, nil
}

func (x *index) close() { x.evict.Close() }

func (x *index) hash(ref logproto.ChunkRef) uint64 { return maphash.Comparable(x.seed, ref) }

// pack and unpack: x.mu is held.
func (x *index) pack(ref logproto.ChunkRef) fileRef {
	no := x.tenantNo[ref.UserID]
	if no == 0 {
		x.tenants = append(x.tenants, ref.UserID)
		no = uint32(len(x.tenants))
		x.tenantNo[ref.UserID] = no
	}
	return fileRef{fingerprint: ref.Fingerprint, from: ref.From, through: ref.Through, checksum: ref.Checksum, tenant: no}
}

func (x *index) unpack(f fileRef) logproto.ChunkRef {
	return logproto.ChunkRef{Fingerprint: f.fingerprint, UserID: x.tenants[f.tenant-1], From: f.from, Through: f.through, Checksum: f.checksum}
}

// find returns a file's size. x.mu is held.
func (x *index) find(ref logproto.ChunkRef) (core.EvictItem, bool) {
	item, ok := x.evict.Find(x.hash(ref))
	return item, ok && x.refs[item.Slot] == x.pack(ref)
}

func (x *index) has(ref logproto.ChunkRef) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.find(ref)
	return ok
}

// missing splits chunks (indexes of all) into those that may have a file and those that have none.
func (x *index) missing(all []chunk.Chunk, chunks []int) (maybe, missing []int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.complete {
		return chunks, nil
	}
	for _, i := range chunks {
		if _, ok := x.find(all[i].ChunkRef); ok {
			maybe = append(maybe, i)
		} else {
			missing = append(missing, i)
		}
	}
	return maybe, missing
}

// add says that a file is there. kept: that it was at start. It fails with ENOSPC if there are too many, and
// with EEXIST if another file has its hash, of which there is one in 2^64.
func (x *index) add(ref logproto.ChunkRef, bytes uint64, kept bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	packed := x.pack(ref)
	if item, ok := x.evict.Find(x.hash(ref)); ok && x.refs[item.Slot] != packed {
		return syscall.EEXIST
	}
	slot, err := x.evict.Add(x.hash(ref), bytes, kept)
	if err != nil {
		return err
	}
	if int(slot) == len(x.refs) { // slots are handed out in order
		x.refs = append(x.refs, packed)
	}
	x.refs[slot] = packed
	return nil
}

// remove says that a file is gone, and returns whether it was known.
func (x *index) remove(ref logproto.ChunkRef) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.find(ref); !ok {
		return false
	}
	item, _ := x.evict.Remove(x.hash(ref))
	x.refs[item.Slot] = fileRef{}
	return true
}

// touch says that files were read.
func (x *index) touch(chunks []chunk.Chunk) {
	hashes := make([]uint64, len(chunks))
	for i := range chunks {
		hashes[i] = x.hash(chunks[i].ChunkRef)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.walked && len(x.early) < earlyHitsMax {
		x.early = append(x.early, hashes...)
	}
	x.evict.Touch(hashes)
}

// walkIsOver counts the hits of files that the walk had not found yet.
func (x *index) walkIsOver(complete bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.evict.Touch(x.early)
	x.walked, x.complete, x.early = true, complete, nil
}

// victim takes out the file that goes next, while more than so much is held.
func (x *index) victim(keepBytes, keepFiles uint64) (ref logproto.ChunkRef, bytes uint64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	item, ok := x.evict.Victim(keepBytes, uint32(keepFiles))
	if !ok {
		return ref, 0, false
	}
	ref = x.unpack(x.refs[item.Slot])
	x.refs[item.Slot] = fileRef{}
	return ref, uint64(item.Bytes), true
}

// olderThan returns the files whose last line was written before a time.
func (x *index) olderThan(t model.Time) (refs []logproto.ChunkRef) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range x.refs {
		if f.tenant != 0 && f.through < t {
			refs = append(refs, x.unpack(f))
		}
	}
	return refs
}

func (x *index) held() (files, bytes uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.evict.Held()
}
