// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
)

// TestEvictTwins replays the same calls in Evict (C, but for builds without cgo) and in its twin in Go: all
// answers are equal, so that a cache does the same however it was built.
func TestEvictTwins(t *testing.T) {
	for _, itemsMax := range []uint32{1, 7, 8, 100, 5000} {
		c, err := OpenEvict(itemsMax)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		g, err := openGoEvict(itemsMax)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, uint64(itemsMax)))
		victims := 0
		for step := range 60_000 {
			hash := random.Uint64N(3 * uint64(itemsMax))
			bytes := random.Uint64N(1 << 21)
			if random.IntN(1000) == 0 {
				bytes = random.Uint64() // mostly too large
			}
			switch random.IntN(12) {
			case 0:
				ci, cok := c.Remove(hash)
				gi, gok := g.Remove(hash)
				if cok != gok || cok && ci != gi {
					t.Fatalf("step %d: Remove: C %+v %v, Go %+v %v", step, ci, cok, gi, gok)
				}
			case 1, 2, 3, 4:
				hashes := []uint64{hash, hash + 1, hash / 2}[:random.IntN(4)]
				if ck, gk := c.Touch(hashes), g.Touch(hashes); ck != gk {
					t.Fatalf("step %d: Touch: C %d, Go %d", step, ck, gk)
				}
			case 5:
				ci, cok := c.Find(hash)
				gi, gok := g.Find(hash)
				if cok != gok || cok && ci != gi {
					t.Fatalf("step %d: Find: C %+v %v, Go %+v %v", step, ci, cok, gi, gok)
				}
			case 6:
				keep := random.Uint64N(uint64(itemsMax) << 20)
				ci, cok := c.Victim(keep, itemsMax/2)
				gi, gok := g.Victim(keep, itemsMax/2)
				if cok != gok || cok && ci != gi {
					t.Fatalf("step %d: Victim: C %+v %v, Go %+v %v", step, ci, cok, gi, gok)
				}
				if cok {
					victims++
				}
			default:
				kept := random.IntN(10) == 0
				cs, cerr := c.Add(hash, bytes, kept)
				gs, gerr := g.Add(hash, bytes, kept)
				if cs != gs || !errors.Is(gerr, cerr) {
					t.Fatalf("step %d: Add: C %d %v, Go %d %v", step, cs, cerr, gs, gerr)
				}
			}
			ci, cb := c.Held()
			if gi, gb := g.Held(); ci != gi || cb != gb {
				t.Fatalf("step %d: Held: C %d %d, Go %d %d", step, ci, cb, gi, gb)
			}
		}
		if victims < 500 {
			t.Errorf("%d files: only %d victims: the trace tests nothing", itemsMax, victims)
		}
	}
}

func TestEvictErrors(t *testing.T) {
	for _, n := range []uint32{0, math.MaxUint32} {
		if _, err := OpenEvict(n); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("OpenEvict(%d) = %v, want EINVAL", n, err)
		}
	}
	e, err := OpenEvict(1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Add(1, math.MaxUint64, false); err != syscall.EFBIG {
		t.Errorf("Add of MaxUint64 bytes: %v, want EFBIG", err)
	}
	if _, err := e.Add(1, 10, false); err != nil {
		t.Error(err)
	}
	if _, err := e.Add(2, 10, false); err != syscall.ENOSPC {
		t.Errorf("Add beyond the bound: %v, want ENOSPC", err)
	}
	if n := e.Touch(nil); n != 0 {
		t.Errorf("Touch(nil) = %d", n)
	}
}

func BenchmarkEvictTouch(b *testing.B) {
	e, err := OpenEvict(1 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	for i := range uint64(1 << 20) {
		_, _ = e.Add(i, 1, false)
	}
	hashes := make([]uint64, 200)
	for b.Loop() {
		for i := range hashes {
			hashes[i] = rand.Uint64N(1 << 20)
		}
		e.Touch(hashes)
	}
}
