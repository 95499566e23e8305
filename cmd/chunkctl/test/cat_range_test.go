// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// timed are the lines, of cat --format json, whose times are within [since, until), milliseconds.
func timed(t *testing.T, all []object, since, until int64) (want []object) {
	t.Helper()
	for _, o := range all {
		ts, err := strconv.ParseInt(o.str("ts"), 10, 64)
		require.NoError(t, err)
		if ts >= since*1e6 && ts < until*1e6 {
			want = append(want, o)
		}
	}
	return want
}

// blocksOf are the times of a chunk's blocks in milliseconds, and where they are.
func blocksOf(t *testing.T, path string) (blocks []object) {
	t.Helper()
	for _, b := range objects(t, run(t, "info", "--json", path).stdout)[0]["block_list"].([]any) {
		blocks = append(blocks, object(b.(map[string]any)))
	}
	require.NotEmpty(t, blocks)
	return blocks
}

// Any range of times gives what all lines give that lie in it, structured metadata included: of every format and codec,
// and of the corpus, whose chunks are odd but sound.
func TestCatRangeIsAPartOfAll(t *testing.T) {
	check := func(name, dir string, ranges ...[2]int64) {
		all := objects(t, run(t, "cat", "--format", "json", dir).stdout)
		require.NotEmpty(t, all, name)
		var times []int64
		for _, o := range all {
			ts, err := strconv.ParseInt(o.str("ts"), 10, 64)
			require.NoError(t, err)
			times = append(times, ts/1e6)
		}
		slices.SortFunc(times, cmp.Compare[int64])
		n := len(times)
		ranges = append(ranges, [][2]int64{{times[n/3], times[n/2]}, {times[n/2], times[n/2] + 1}, {times[0], times[n/8]}}...)
		for _, r := range ranges {
			got := run(t, "cat", "--format", "json", "--allow-empty", "--since", fmt.Sprint(r[0]), "--until", fmt.Sprint(r[1]), dir)
			require.Equal(t, exitSound, got.code, "%s: %s", name, got.stderr)
			require.Equal(t, timed(t, all, r[0], r[1]), objects(t, got.stdout), "%s: %v", name, r)
		}
		got := run(t, "cat", "--format", "json", "--since", fmt.Sprint(times[n/2]), dir)
		require.Equal(t, timed(t, all, times[n/2], times[n-1]+1), objects(t, got.stdout), name)
	}
	for _, codec := range []string{"none", "gzip", "lz4", "snappy", "flate", "zstd"} {
		x := largeStore(t, chunkgen.Options{Count: 2, Streams: 2, Codec: codec})
		b := blocksOf(t, x.Path(x.Refs[0]))[1]
		first, last := b.num("mint_ns")/1e6, b.num("maxt_ns")/1e6
		check(codec, x.Dir(), [2]int64{first, first + 1}, [2]int64{last, last + 1}) // no more than a block's end
	}
	for format := 2; format <= 4; format++ {
		check(fmt.Sprint(format), largeStore(t, chunkgen.Options{Count: 1, Format: format}).Dir())
	}
	for _, r := range corpus(t, "good") {
		dir := t.TempDir()
		write(t, filepath.Join(dir, fileName(r)), corpusFile(t, "good", r))
		check(r.Path, dir)
	}
}

func TestCatRangeReadsOnlyItsBlocks(t *testing.T) {
	x := largeStore(t, chunkgen.Options{Count: 1})
	path := x.Path(x.Refs[0])
	blocks := blocksOf(t, path)
	require.Greater(t, len(blocks), 4)
	b := blocks[2]
	since, until := fmt.Sprint(b.num("mint_ns")/1e6+1), fmt.Sprint(b.num("maxt_ns")/1e6)
	_, none := runCounted(t, "cat", "--allow-empty", t.TempDir())
	whole, all := runCounted(t, "cat", x.Dir())
	require.GreaterOrEqual(t, all-none, int64(x.Refs[0].Size)-4096) // sanitizers read now more, now less
	part, got := runCounted(t, "cat", "--since", since, "--until", until, x.Dir())
	require.NotEmpty(t, part.stdout)
	require.Contains(t, whole.stdout, part.stdout)
	require.Less(t, got-none, b.num("bytes")+64<<10, "two ends, a block, and a few bytes of each other block")
	grep, got := runCounted(t, "cat", "--since", since, "--until", until, "--grep", "e", x.Dir())
	require.Equal(t, exitSound, grep.code)
	require.Less(t, got-none, b.num("bytes")+64<<10)
}

// What is damaged is read as without a range: with the same words, and on past the damage.
func TestCatRangeDamaged(t *testing.T) {
	for _, codec := range []string{"snappy", "none"} {
		x := largeStore(t, chunkgen.Options{Count: 1, Codec: codec})
		path := x.Path(x.Refs[0])
		file, blocks := read(t, path), blocksOf(t, path)
		first, last := blocks[0], blocks[len(blocks)-1]
		until := fmt.Sprint(first.num("maxt_ns")/1e6 + 1) // the first block, and a little of the second
		want := run(t, "cat", "--until", until, x.Dir())
		require.Equal(t, exitSound, want.code)
		cat := func(name string, at int64) result {
			b := slices.Clone(file)
			b[at] ^= 1
			write(t, path, b)
			require.Equal(t, exitFindings, run(t, "cat", x.Dir()).code, name)
			return run(t, "cat", "--until", until, x.Dir())
		}
		r := cat("a block that is wanted", first.num("offset")+100)
		require.Equal(t, exitFindings, r.code)
		require.Contains(t, r.stderr, "its CRC32C is not the one in its name")
		require.Contains(t, r.stderr, "block 0 has a wrong checksum")
		require.True(t, strings.HasSuffix(want.stdout, r.stdout), "the rest of the lines")
		require.Less(t, len(r.stdout), len(want.stdout))

		r = cat("a block that is not", last.num("offset")+100)
		require.Equal(t, want, r)

		for name, at := range map[string]int64{
			"the CRC of a block that is wanted": first.num("offset") + first.num("bytes"),
			"that of one that is not":           last.num("offset") + last.num("bytes"),
			"the codec":                         codecOffset(t, path),
			"the metadata":                      60,
			"the block metas":                   int64(len(file)) - 60,
		} {
			r = cat(name, at)
			require.Equal(t, exitFindings, r.code, name)
			require.Contains(t, r.stderr, "its CRC32C is not the one in its name", name)
		}
		write(t, path, file)
		require.Equal(t, want, run(t, "cat", "--until", until, x.Dir()))
	}
}

// codecOffset is where a chunk's header names its codec: behind the magic number and the version.
func codecOffset(t *testing.T, path string) int64 {
	t.Helper()
	data := object(objects(t, run(t, "info", "--json", path).stdout)[0]["data"].(map[string]any))
	return data.num("offset") + 5
}
