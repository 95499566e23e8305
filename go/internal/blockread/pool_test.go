// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"

	"github.com/chunkring/chunkring/go/internal/core"
)

func open(t *testing.T, p *pool, block []byte) io.Reader {
	r, err := p.GetReader(bytes.NewBuffer(block))
	require.NoError(t, err)
	return r
}

// TestBombs: what inflates beyond the limit costs no memory, and can still be read, by Loki's own reader.
func TestBombs(t *testing.T) {
	const size = 64 << 20
	zeros := make([]byte, 1<<20)
	for _, codec := range codecs {
		if codec == compression.None {
			continue
		}
		t.Run(codec.String(), func(t *testing.T) {
			var b bytes.Buffer
			writers := compression.GetWriterPool(codec)
			w := writers.GetWriter(&b)
			for range size / len(zeros) {
				_, err := w.Write(zeros)
				require.NoError(t, err)
			}
			require.NoError(t, w.Close())
			writers.PutWriter(w)
			p := testPool(codec)
			for _, hint := range []int{0, 1000, size} {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				r, err := p.GetReaderSize(bytes.NewBuffer(b.Bytes()), hint)
				require.NoError(t, err)
				require.NotImplements(t, (*interface{ Flat() []byte })(nil), r)
				n, err := io.CopyN(io.Discard, r, 4<<20)
				require.NoError(t, err)
				require.EqualValues(t, 4<<20, n)
				p.PutReader(r)
				runtime.ReadMemStats(&after)
				// Rooms of up to 16 MiB were tried; zstd's own window is 8 MiB.
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size*3/4))
				require.Zero(t, p.buffers.held.Load())
			}
			require.EqualValues(t, 3, p.fallbacks[tooLarge].Load())
		})
	}
}

// TestLyingZstd: blocks that announce what they don't have, and are damaged, in the first frame or in a later
// one, cost no memory either. Loki's reader would have made room for it all.
func TestLyingZstd(t *testing.T) {
	good := compressed(t, compression.Zstd, []byte("some lines"))
	raw := []byte{0x51, 0, 0, '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'} // a last block of ten bytes
	for name, c := range map[string]struct {
		block   []byte
		max     uint64 // bytes allocated
		refused bool   // at once
		content string
	}{
		"damaged":         {block: zstdSays(3<<30, []byte("\x12\x01garbage")), max: 4 << 20},
		"nothing":         {block: zstdSays(60<<30, nil), max: 4 << 20},
		"the next frame":  {block: slices.Concat(good, zstdSays(1<<40, nil)), max: 16 << 20, content: "some lines"},
		"small, then big": {block: slices.Concat(zstdSays(10, raw), zstdSays(50<<30, nil)), max: 4 << 20, content: "0123456789"},
		"large window":    {block: slices.Concat([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x98}, raw), max: 4 << 20, content: "0123456789"},
		"and damaged":     {block: slices.Concat([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x98}, raw[:9]), max: 4 << 20},
		"one segment":     {block: binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, 400<<20), max: 4 << 20, refused: true},
		"both":            {block: binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x98}, 400<<20), max: 4 << 20, refused: true},
	} {
		p := testPool(compression.Zstd)
		for way, open := range map[string]func() (io.Reader, error){
			"in memory": func() (io.Reader, error) { return p.GetReader(bytes.NewBuffer(c.block)) },
			"in a file": func() (io.Reader, error) { return Open(compression.Zstd, len(c.block), 0, filed(c.block)) },
		} {
			what := name + ", " + way
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var content []byte
			r, err := open()
			require.Equal(t, c.refused, err != nil, what)
			if err == nil {
				content, err = io.ReadAll(r)
				p.PutReader(r)
			}
			runtime.ReadMemStats(&after)
			require.Equal(t, name == "large window", err == nil, "%s: %v", what, err)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, c.max, what)
			require.Equal(t, c.content, string(content), what)
		}
	}
}

// filed is a block as if it were in a file.
type filed []byte

func (b filed) Decompress(d *core.Decompressor, dst []byte) (n uint64, status core.BlockStatus) {
	return d.Decompress(uint8(compression.Zstd), b, dst)
}

func (b filed) Raw(bool) ([]byte, error) { return bytes.Clone(b), nil }

// TestPutEndsReadingAhead: Loki's zstd reader reads a long block ahead, on goroutines. After PutReader the
// block's bytes are somebody else's: with -race this fails where one of them is still read.
func TestPutEndsReadingAhead(t *testing.T) {
	random := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	block := compressed(t, compression.Zstd, bytes.Repeat(random, 20))
	require.Greater(t, len(block), zstdWholeBelow)
	p := testPool(compression.Zstd)
	for range 10 {
		b := bytes.Clone(block)
		r := open(t, p, b)
		_, err := io.ReadFull(r, make([]byte, 1000))
		require.NoError(t, err)
		p.PutReader(r)
		for i := range b { // clear() tells the race detector nothing
			b[i]++
		}
	}
	require.EqualValues(t, 10, p.fallbacks[tooLarge].Load())
}

// zstdSays is a zstd frame with a window of 1 KiB that announces size bytes.
func zstdSays(size uint64, blocks []byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0}
	return append(binary.LittleEndian.AppendUint64(b, size), blocks...)
}

// TestLimit: rawBytesMax itself is decompressed here, one byte more is not.
func TestLimit(t *testing.T) {
	for _, codec := range codecs {
		if codec == compression.Zstd {
			continue // it may be larger than its window, for which it is left to Loki's reader
		}
		p := testPool(codec)
		raw := make([]byte, rawBytesMax+1)
		require.True(t, requireSame(t, p, compressed(t, codec, raw[:rawBytesMax])), codec)
		require.Equal(t, codec == compression.None, requireSame(t, p, compressed(t, codec, raw)), codec)
	}
	huge := make([]byte, rawBytesMax+1) // not even looked at
	require.False(t, requireSame(t, testPool(compression.GZIP), huge))
}

// TestOtherSources: whatever is not a whole block in a *bytes.Buffer is for Loki's own reader.
func TestOtherSources(t *testing.T) {
	for _, codec := range codecs {
		p := testPool(codec)
		raw := entries("logs", 10_000)
		block := compressed(t, codec, raw)
		for _, src := range []io.Reader{bytes.NewReader(block), iotest.OneByteReader(bytes.NewReader(block))} {
			r, err := p.GetReader(src)
			require.NoError(t, err)
			require.NotImplements(t, (*interface{ Flat() []byte })(nil), r)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.True(t, bytes.Equal(raw, got))
			p.PutReader(r)
		}
		require.Zero(t, p.blocks.Load())
	}
}

// TestReader: reads of any size, the whole at once, and both.
func TestReader(t *testing.T) {
	raw := entries("logs", 10_000)
	p := testPool(compression.GZIP)
	r := open(t, p, compressed(t, compression.GZIP, raw))
	require.NoError(t, iotest.TestReader(struct{ io.Reader }{r}, raw))
	require.True(t, bytes.Equal(raw, r.(*reader).Flat()), "whatever was read of it")
	p.PutReader(r)
}

// TestReuse: a buffer comes back when it is released, once, and poisoned in debug builds.
func TestReuse(t *testing.T) {
	p := testPool(compression.Snappy)
	block := compressed(t, compression.Snappy, entries("logs", 10_000))
	first := open(t, p, block).(*reader)
	flat, buf := first.Flat(), first.buf
	require.EqualValues(t, len(buf.bytes), p.buffers.held.Load())
	p.PutReader(first)
	p.PutReader(first)
	require.EqualValues(t, len(buf.bytes), p.buffers.keptBytes(), "released once")
	require.Zero(t, p.buffers.held.Load())
	require.Nil(t, first.Flat())
	require.Equal(t, poisonReleased, flat[0] == poison && flat[len(flat)-1] == poison)

	second, third := open(t, p, block).(*reader), open(t, p, block).(*reader)
	require.Same(t, buf, second.buf)
	require.NotSame(t, buf, third.buf)
	p.PutReader(second)
	p.PutReader(third)

	plain := testPool(compression.None)
	src := []byte("abc")
	r := open(t, plain, src).(*reader)
	require.Same(t, &src[0], &r.Flat()[0], "nothing is copied")
	plain.PutReader(r)
	require.Equal(t, "abc", string(src), "it is the chunk's")
}

// TestPutAgain: an iterator that puts its reader back twice, or reads on, has nothing of the block whose
// reader came after it.
func TestPutAgain(t *testing.T) {
	for _, codec := range codecs {
		p := testPool(codec)
		raws := [][]byte{entries("logs", 10_000), entries("noise", 10_000), entries("logs", 9_000)}
		var blocks [][]byte
		for _, raw := range raws {
			blocks = append(blocks, compressed(t, codec, raw))
		}
		late := open(t, p, blocks[0])
		p.PutReader(late)
		now := open(t, p, blocks[1])
		if _, ours := late.(*reader); !ours {
			require.NotEqual(t, "cgo", core.Built, codec)
			continue // Loki's own reader, and Loki's rules
		}
		p.PutReader(late)
		next := open(t, p, blocks[2])
		n, err := late.Read(make([]byte, 10))
		require.Zero(t, n, codec)
		require.ErrorIs(t, err, io.EOF)
		require.Nil(t, late.(*reader).Flat())
		for i, r := range []io.Reader{now, next} {
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.True(t, bytes.Equal(raws[i+1], got), "%s: block %d", codec, i+1)
		}
		p.PutReader(now)
		p.PutReader(next)
		require.Zero(t, p.buffers.held.Load())
	}
}

// TestAllocations: the reader alone, in steady state.
func TestAllocations(t *testing.T) {
	if core.Built != "cgo" {
		t.Skip("Loki's own readers allocate")
	}
	for _, codec := range codecs {
		p := testPool(codec)
		block := bytes.NewBuffer(compressed(t, codec, entries("logs", 100_000)))
		require.EqualValues(t, 1, testing.AllocsPerRun(20, func() {
			r, err := p.GetReaderSize(block, 90_000)
			if err != nil {
				t.Fatal(err)
			}
			p.PutReader(r)
		}), codec)
	}
}

// TestHeld: beyond the bound Loki's own readers take over, until something is released.
func TestHeld(t *testing.T) {
	p := testPool(compression.Snappy)
	block := compressed(t, compression.Snappy, entries("logs", 10_000))
	one := open(t, p, block).(*reader)
	p.buffers.held.Add(p.buffers.heldMax.Load() - 2*int64(len(one.buf.bytes)))
	two := open(t, p, block)
	require.IsType(t, one, two)
	three := open(t, p, block)
	require.NotImplements(t, (*interface{ Flat() []byte })(nil), three)
	require.EqualValues(t, 1, p.fallbacks[noMemory].Load())
	p.PutReader(three)
	p.PutReader(two)
	require.IsType(t, one, open(t, p, block))
}

// TestHeldBound: the largest bound that anybody wants, the default where nobody says.
func TestHeldBound(t *testing.T) {
	s := newState()
	usual := heldBytesDefault()
	bound := func(want int64) {
		t.Helper()
		require.Equal(t, want, s.buffers.heldMax.Load())
	}
	small, large := Want{Decompress, 100 << 10}, Want{Filter, 1 << 40}
	bound(usual)
	s.change(small, 1)
	bound(100 << 10)
	require.Nil(t, s.buffers.get(200<<10))
	r := s.buffers.get(50 << 10)
	require.NotNil(t, r)
	s.buffers.put(r)
	s.change(large, 1)
	bound(1 << 40)
	s.change(Want{Off, 1 << 50}, 1) // wants nothing of this package
	s.change(small, 1)
	s.change(large, -1)
	bound(100 << 10)
	s.change(Want{Level: Decompress}, 1)
	bound(usual)
	s.change(Want{Level: Decompress}, -1)
	s.change(small, -1)
	bound(100 << 10)
	s.change(small, -1)
	bound(usual)
}

// TestCgroupLimit: the smallest limit from the process's group up, of both versions.
func TestCgroupLimit(t *testing.T) {
	const none = math.MaxInt64
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no groups":       {nil, none},
		"no limit":        {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, none},
		"version 2":       {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/memory.max": "2000\n"}, 1000},
		"a group above":   {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "2000\n"}, 2000},
		"a container":     {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "3000\n"}, 3000},
		"the host's path": {map[string]string{"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": "3000\n"}, 3000},
		"version 1": {map[string]string{"proc/self/cgroup": "5:cpu:/z\n4:memory:/docker/x\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "4000\n", "sys/fs/cgroup/memory/z/memory.limit_in_bytes": "1\n"}, 4000},
		"garbage": {map[string]string{"proc/self/cgroup": "garbage\n\n:::\n0::/a", "sys/fs/cgroup/a/memory.max": "much"}, none},
	} {
		root := fstest.MapFS{}
		for file, text := range c.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		require.Equal(t, c.want, cgroupLimit(root), name)
	}
}

// TestKept: what waits for reuse is bounded.
func TestKept(t *testing.T) {
	b := &newState().buffers
	b.heldMax.Store(heldBytesUsual) // however little memory this machine has
	var all []*buffer
	for range 2 * keptBytesMax / (1 << 20) {
		all = append(all, b.get(1<<20))
	}
	for _, r := range all {
		b.put(r)
	}
	require.EqualValues(t, keptBytesMax, b.keptBytes())
	require.Zero(t, b.held.Load())
	require.Same(t, all[keptBytesMax/(1<<20)-1], b.get(1<<20), "the last one first")
	b.use(false)
	require.Zero(t, b.keptBytes())
}

// TestNothingKeptWhenOff: what comes back after the last Disable is not kept, and what comes back after
// another Enable is.
func TestNothingKeptWhenOff(t *testing.T) {
	s := newState()
	s.replacePools(true)
	before, after := s.buffers.get(64<<10), s.buffers.get(64<<10)
	one, two := s.decompressors.get(), s.decompressors.get()
	s.buffers.put(s.buffers.get(64 << 10))
	s.decompressors.put(s.decompressors.get())
	s.replacePools(false)
	require.Zero(t, s.buffers.keptBytes())
	require.Empty(t, s.decompressors.free)
	s.buffers.put(before)
	s.decompressors.put(one)
	require.Zero(t, s.buffers.keptBytes())
	require.Empty(t, s.decompressors.free)
	s.replacePools(true)
	s.buffers.put(after)
	s.decompressors.put(two)
	require.EqualValues(t, 64<<10, s.buffers.keptBytes())
	require.Len(t, s.decompressors.free, 1)
	require.Zero(t, s.buffers.held.Load())
	s.replacePools(false)
}

// TestForgotten: a reader that nobody gives back does not count for ever.
func TestForgotten(t *testing.T) {
	p := testPool(compression.Snappy)
	block := compressed(t, compression.Snappy, entries("logs", 10_000))
	for range 10 {
		open(t, p, block)
	}
	require.NotZero(t, p.buffers.held.Load())
	require.Eventually(t, func() bool {
		runtime.GC()
		return p.buffers.held.Load() == 0
	}, time.Minute, time.Millisecond)
}

// TestConcurrent: many iterators at a time, good and bad blocks, all codecs, one set of buffers.
func TestConcurrent(t *testing.T) {
	s := newState()
	raws := [][]byte{entries("logs", 300), entries("logs", 100_000), entries("noise", 20_000)}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 60 {
				p := s.pools[(g+i)%len(s.pools)]
				raw := raws[(g*i)%len(raws)]
				block := compressed(t, p.codec, raw)
				got, _ := read(p, block)
				if got.err != "" || !bytes.Equal(got.raw, raw) {
					t.Errorf("%s: %s", p.codec, got.err)
				}
				if got, _ := read(p, block[:len(block)/2]); got.err == "" && p.codec != compression.None {
					t.Errorf("%s: half a block", p.codec)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, s.buffers.held.Load())
	require.LessOrEqual(t, len(s.decompressors.free), 8)
	s.decompressors.use(false)
}

// TestClass: classes are in order, without holes, and none is more than a quarter too large.
func TestClass(t *testing.T) {
	last, lastBytes := 0, classBytesMin
	for size := 1; size <= rawBytesMax; size += 1 + size/1000 {
		index, bytes := class(size)
		require.GreaterOrEqual(t, bytes, size)
		require.True(t, size <= classBytesMin || bytes <= size+size/4+1, size)
		if index != last {
			require.Equal(t, last+1, index)
			require.Greater(t, bytes, lastBytes)
		} else {
			require.Equal(t, lastBytes, bytes)
		}
		last, lastBytes = index, bytes
	}
	index, bytes := class(rawBytesMax)
	require.Equal(t, classes-1, index)
	require.Equal(t, rawBytesMax, bytes)
}

func TestMetrics(t *testing.T) {
	s := newState()
	s.level.Store(int32(InPlace))
	c := collector{s}
	require.Equal(t, 9*10+6, testutil.CollectAndCount(c), "all series are there from the start")
	for _, p := range s.pools {
		if p.codec == compression.GZIP {
			read(p, compressed(t, p.codec, make([]byte, 1000)))
			read(p, []byte("garbage"))
			for _, lines := range []int64{1000, 100} {
				r := open(t, p, compressed(t, p.codec, nil)).(*reader)
				r.Iterated(lines, lines/10, lines == 100)
				p.PutReader(r)
			}
		}
	}
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP chunkring_block_buffer_bytes Buffers for decompressed blocks, by state: in_use, kept (for reuse).
# TYPE chunkring_block_buffer_bytes gauge
chunkring_block_buffer_bytes{state="in_use"} 0
chunkring_block_buffer_bytes{state="kept"} 4096
`), "chunkring_block_buffer_bytes"))
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	require.Empty(t, problems)
	counts, err := testutil.CollectAndFormat(c, expfmt.TypeTextPlain, "chunkring_blocks_decompressed_total", "chunkring_block_bytes_decompressed_total", "chunkring_block_fallbacks_total",
		"chunkring_blocks_iterated_total", "chunkring_blocks_left_total", "chunkring_block_lines_total", "chunkring_block_lines_dropped_total")
	require.NoError(t, err)
	require.Contains(t, string(counts), "chunkring_blocks_decompressed_total{codec=\"gzip\"} 3\n")
	require.Contains(t, string(counts), "chunkring_blocks_iterated_total{codec=\"gzip\"} 2\n")
	require.Contains(t, string(counts), "chunkring_blocks_left_total{codec=\"gzip\"} 1\n")
	require.Contains(t, string(counts), "chunkring_block_lines_total{codec=\"gzip\"} 1100\n")
	require.Contains(t, string(counts), "chunkring_block_lines_dropped_total{codec=\"gzip\"} 110\n")
	require.Contains(t, string(counts), "chunkring_block_bytes_decompressed_total{codec=\"gzip\"} 1000\n")
	require.Contains(t, string(counts), "chunkring_block_fallbacks_total{codec=\"gzip\",reason=\"damaged\"} 1\n")
	require.Contains(t, string(counts), "chunkring_block_fallbacks_total{codec=\"zstd\",reason=\"damaged\"} 0\n")
}

// TestLevels: the highest level that anybody wants is in use, and readers keep what they began with.
func TestLevels(t *testing.T) {
	s := newState()
	var p *pool
	for _, p = range s.pools {
		if p.codec == compression.Snappy {
			break
		}
	}
	block := compressed(t, compression.Snappy, entries("logs", 300))
	iterates := func(inPlace, pushDown bool) {
		t.Helper()
		r := open(t, p, block).(*reader)
		defer p.PutReader(r)
		require.Equal(t, inPlace, r.Flat() != nil)
		require.Equal(t, pushDown, r.PushDown())
	}
	iterates(false, false)
	s.change(Want{Level: Decompress}, 1)
	s.change(Want{Level: Off}, 1)
	iterates(false, false)
	s.change(Want{Level: InPlace}, 1)
	iterates(true, false)
	s.change(Want{Level: Filter}, 1)
	iterates(true, true)
	begun := open(t, p, block).(*reader)
	s.change(Want{Level: InPlace}, -1)
	s.change(Want{Level: Off}, -1)
	iterates(true, true)
	s.change(Want{Level: Filter}, -1)
	iterates(false, false)
	require.True(t, begun.Flat() != nil && begun.PushDown())
	p.PutReader(begun)
	require.Equal(t, users{level: [levels]int{Decompress: 1}, heldBytes: map[int64]int{0: 1}}, s.users)
	s.change(Want{Level: Decompress}, -1)
	require.Equal(t, users{heldBytes: map[int64]int{}}, s.users)
	require.Equal(t, Off, Level(s.level.Load()))
}

func TestLevelNames(t *testing.T) {
	for l := range levels {
		got, ok := ParseLevel(l.String())
		require.True(t, ok)
		require.Equal(t, l, got)
	}
	for _, name := range []string{"", "on", "Filter"} {
		_, ok := ParseLevel(name)
		require.False(t, ok, name)
	}
}
