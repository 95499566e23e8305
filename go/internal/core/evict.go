// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"math"
	"syscall"
)

// EvictItem is a file as Evict knows it.
type EvictItem struct {
	Hash  uint64
	Bytes uint32
	Slot  uint32 // the file's own until it goes
}

// The bounds of c/src/limits.h and chunkring.h.
const (
	evictItemsMax  = 1 << 28
	evictSmallPart = 10
	evictUsesMax   = 3
	evictUsesKept  = 2
	evictStepsMax  = 256
	evictGhostWays = 8
)

// goEvict is Evict in pure Go, with the decisions of c/src/evict.c, whose comments have the reasons. It is
// built always, so that a test can compare the two.
type goEvict struct {
	ghostBuckets uint32
	unused, free uint32
	stamp        uint32
	small, main  evictQueue
	nodes        []evictNode
	buckets      []uint32
	ghosts       []evictGhost
}

type evictNode struct {
	hash                uint64
	bytes               uint32
	chain, newer, older uint32 // slots plus one; 0: none
	uses                uint8
	inMain              bool
}

type evictQueue struct {
	newest, oldest uint32
	items, bytes   uint64
}

type evictGhost struct{ tag, stamp uint32 }

func openGoEvict(itemsMax uint32) (*goEvict, error) {
	if itemsMax == 0 || itemsMax > evictItemsMax {
		return nil, fmt.Errorf("cr_evict_open for %d files: %w", itemsMax, syscall.EINVAL)
	}
	e := &goEvict{ghostBuckets: (itemsMax + evictGhostWays - 1) / evictGhostWays}
	e.nodes = make([]evictNode, itemsMax)
	e.buckets = make([]uint32, itemsMax)
	e.ghosts = make([]evictGhost, uint64(e.ghostBuckets)*evictGhostWays)
	return e, nil
}

func (e *goEvict) Close() { *e = goEvict{} }

func evictMix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

func evictBelow(mixed uint64, n uint32) uint32 { return uint32((mixed >> 32) * uint64(n) >> 32) }

func (e *goEvict) node(at uint32) *evictNode { return &e.nodes[at-1] }

func (e *goEvict) link(hash uint64) *uint32 {
	link := &e.buckets[evictBelow(evictMix(hash), uint32(len(e.buckets)))]
	for *link != 0 && e.node(*link).hash != hash {
		link = &e.node(*link).chain
	}
	return link
}

func (e *goEvict) queue(at uint32) *evictQueue {
	if e.node(at).inMain {
		return &e.main
	}
	return &e.small
}

func (e *goEvict) push(q *evictQueue, at uint32) {
	n := e.node(at)
	n.newer, n.older = 0, q.newest
	if q.newest != 0 {
		e.node(q.newest).newer = at
	} else {
		q.oldest = at
	}
	q.newest = at
	q.items++
	q.bytes += uint64(n.bytes)
}

func (e *goEvict) take(q *evictQueue, at uint32) {
	n := e.node(at)
	if n.newer != 0 {
		e.node(n.newer).older = n.older
	} else {
		q.newest = n.older
	}
	if n.older != 0 {
		e.node(n.older).newer = n.newer
	} else {
		q.oldest = n.newer
	}
	q.items--
	q.bytes -= uint64(n.bytes)
}

func (e *goEvict) ghostBucket(mixed uint64) []evictGhost {
	first := uint64(evictBelow(mixed, e.ghostBuckets)) * evictGhostWays
	return e.ghosts[first : first+evictGhostWays]
}

func (e *goEvict) addGhost(hash uint64) {
	mixed := evictMix(hash)
	bucket := e.ghostBucket(mixed)
	oldest := &bucket[0]
	for i := 1; i < len(bucket) && oldest.stamp != 0; i++ {
		if bucket[i].stamp == 0 || e.stamp-bucket[i].stamp > e.stamp-oldest.stamp {
			oldest = &bucket[i]
		}
	}
	if e.stamp++; e.stamp == 0 {
		e.stamp = 1
	}
	*oldest = evictGhost{tag: uint32(mixed), stamp: e.stamp}
}

func (e *goEvict) takeGhost(hash uint64) bool {
	mixed := evictMix(hash)
	bucket := e.ghostBucket(mixed)
	for i := range bucket {
		if bucket[i].stamp == 0 || bucket[i].tag != uint32(mixed) {
			continue
		}
		fresh := uint64(e.stamp-bucket[i].stamp) <= e.small.items+e.main.items
		bucket[i].stamp = 0
		return fresh
	}
	return false
}

func (e *goEvict) get() uint32 {
	at := e.free
	switch {
	case at != 0:
		e.free = e.node(at).older
	case int(e.unused) < len(e.nodes):
		e.unused++
		at = e.unused
	}
	return at
}

func (e *goEvict) Add(hash, bytes uint64, kept bool) (slot uint32, err error) {
	if bytes > math.MaxUint32 {
		return 0, syscall.EFBIG
	}
	link := e.link(hash)
	at := *link
	if at != 0 {
		q := e.queue(at)
		q.bytes += bytes - uint64(e.node(at).bytes)
		e.node(at).bytes = uint32(bytes)
		return at - 1, nil
	}
	if at = e.get(); at == 0 {
		return 0, syscall.ENOSPC
	}
	again := e.takeGhost(hash)
	*link = at
	*e.node(at) = evictNode{hash: hash, bytes: uint32(bytes), inMain: again || kept}
	e.push(e.queue(at), at)
	return at - 1, nil
}

func (e *goEvict) Touch(hashes []uint64) (known int) {
	for _, hash := range hashes {
		at := *e.link(hash)
		if at == 0 {
			continue
		}
		known++
		e.node(at).uses = min(e.node(at).uses+1, evictUsesMax)
	}
	return known
}

func (e *goEvict) item(at uint32) EvictItem {
	return EvictItem{Hash: e.node(at).hash, Bytes: e.node(at).bytes, Slot: at - 1}
}

func (e *goEvict) Find(hash uint64) (EvictItem, bool) {
	if at := *e.link(hash); at != 0 {
		return e.item(at), true
	}
	return EvictItem{}, false
}

func (e *goEvict) forget(at uint32) {
	n := e.node(at)
	*e.link(n.hash) = n.chain
	e.take(e.queue(at), at)
	*n = evictNode{older: e.free}
	e.free = at
}

func (e *goEvict) Remove(hash uint64) (EvictItem, bool) {
	at := *e.link(hash)
	if at == 0 {
		return EvictItem{}, false
	}
	item := e.item(at)
	e.forget(at)
	return item, true
}

func (e *goEvict) choose() uint32 {
	for step := 1; ; step++ {
		full := e.small.bytes*evictSmallPart >= e.small.bytes+e.main.bytes
		q, kept := &e.main, uint8(1)
		if e.small.items > 0 && (full || e.main.items == 0) {
			q, kept = &e.small, evictUsesKept
		}
		at := q.oldest
		n := e.node(at)
		if n.uses < kept || step == evictStepsMax {
			return at
		}
		e.take(q, at)
		if n.inMain {
			n.uses--
		} else {
			n.uses, n.inMain = 0, true
		}
		e.push(&e.main, at)
	}
}

func (e *goEvict) Victim(keepBytes uint64, keepItems uint32) (EvictItem, bool) {
	if items, bytes := e.Held(); bytes <= keepBytes && items <= uint64(keepItems) {
		return EvictItem{}, false
	}
	at := e.choose()
	item := e.item(at)
	if !e.node(at).inMain {
		e.addGhost(item.Hash)
	}
	e.forget(at)
	return item, true
}

func (e *goEvict) Held() (items, bytes uint64) {
	return e.small.items + e.main.items, e.small.bytes + e.main.bytes
}
