// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// largeStore has chunks whose ends tell all that is in them but their blocks.
func largeStore(t testing.TB, opts chunkgen.Options) *chunkgen.Index {
	t.Helper()
	opts.Size, opts.Block = 400_000, 128<<10
	x := generate(t, opts)
	for _, r := range x.Refs {
		require.Greater(t, r.Size, 160<<10, "smaller files are read whole")
	}
	return x
}

// byPath are the kinds of a report's findings, of each file in their order.
func (r report) byPath() map[string][]string {
	all := map[string][]string{}
	for _, f := range r.findings {
		all[f.str("path")] = append(all[f.str("path")], f.str("kind"))
	}
	return all
}

// What is sound is sound for verify --quick, too, of every format and codec, and it reads but little of it.
func TestVerifyQuickReadsEnds(t *testing.T) {
	quick := func(format int, codec, backend string) {
		x := largeStore(t, chunkgen.Options{Count: 4, Format: format, Codec: codec})
		rep, got := verifyIO(t, "--quick", "--backend", backend, x.Dir())
		require.Equal(t, exitSound, rep.code, "%v", rep.findings)
		require.Equal(t, true, rep.summary["quick"])
		require.Equal(t, int64(4), rep.summary.num("chunks_quick"), "%d %s", format, codec)
		require.Equal(t, x.Bytes(), rep.summary.num("bytes"))
		unchecked := rep.summary.num("bytes_unchecked")
		require.Greater(t, unchecked, x.Bytes()*3/4)
		require.Less(t, unchecked, x.Bytes())
		if backend == "threads" { // the kernel does not count what io_uring reads
			rep, all := verifyIO(t, "--backend", backend, x.Dir())
			require.Equal(t, false, rep.summary["quick"])
			require.Zero(t, rep.summary.num("bytes_unchecked"))
			require.Greater(t, all, x.Bytes())
			require.Less(t, got, all-x.Bytes()/2, "bytes read")
		}
	}
	for format := 2; format <= 4; format++ {
		quick(format, "snappy", "threads")
	}
	for _, codec := range []string{"none", "gzip", "lz4", "flate", "zstd"} {
		quick(4, codec, "threads")
	}
	quick(4, "gzip", "uring")
}

func verifyIO(t *testing.T, args ...string) (report, int64) {
	t.Helper()
	r, bytes := runCounted(t, append([]string{"verify", "--json", "--settle", "0"}, args...)...)
	return parseReport(t, r), bytes
}

// A flipped bit in a block is what --quick can't see, and it says so.
func TestVerifyQuickSaysWhatItDidNotCheck(t *testing.T) {
	x := largeStore(t, chunkgen.Options{Count: 3})
	flip(x.Refs[1].Size/2)(t, x.Path(x.Refs[1]))
	whole := verify(t, x.Dir())
	require.Equal(t, exitFindings, whole.code)
	require.Equal(t, []string{"bad_crc", "block_crc"}, whole.kinds())
	rep := verify(t, "--quick", x.Dir())
	require.Equal(t, exitSound, rep.code)
	require.Empty(t, rep.findings)
	require.NotZero(t, rep.summary.num("bytes_unchecked"))
	text := run(t, "verify", "--quick", "--settle", "0", x.Dir()).stdout
	require.Contains(t, text, "\nnot checked: the blocks' bytes of 3 chunks, ")
	require.Contains(t, text, "\nsound as far as it was checked\n")
	text = run(t, "verify", "--settle", "0", x.Dir()).stdout
	require.NotContains(t, text, "not checked")
}

// blockCRC is where the CRC of the i-th block of a chunk is in its file.
func blockCRC(t *testing.T, path string, i int) int {
	t.Helper()
	info := objects(t, run(t, "info", "--json", path).stdout)[0]
	b := object(info["block_list"].([]any)[i].(map[string]any))
	return int(b.num("offset") + b.num("bytes"))
}

// Every byte outside the blocks is proven: what --quick says of a file with one of these damaged is what verify says.
func TestVerifyQuickFindsWhatItChecks(t *testing.T) {
	for _, codec := range []string{"snappy", "none", "gzip"} {
		x := largeStore(t, chunkgen.Options{Count: 1, Codec: codec})
		ref, path := x.Refs[0], x.Path(x.Refs[0])
		file := read(t, path)
		places := map[string]int{"first byte": 0, "metadata": 60, "last byte": ref.Size - 1, "footer": ref.Size - 20, "metas": ref.Size - 60}
		for i := range 3 {
			places[fmt.Sprintf("CRC of block %d", i)] = blockCRC(t, path, i) + i
		}
		for name, at := range places {
			flip(at)(t, path)
			want, got := verify(t, x.Dir()), verify(t, "--quick", x.Dir())
			require.Equal(t, exitFindings, want.code, name)
			require.Equal(t, exitFindings, got.code, name)
			require.Equal(t, want.findings, got.findings, name)
			require.Zero(t, got.summary.num("bytes_unchecked"), "what is damaged is read whole")
			write(t, path, file)
		}
		for _, size := range []int{ref.Size - 1, ref.Size / 2, 200_000, 1} {
			require.NoError(t, os.Truncate(path, int64(size)))
			require.Equal(t, verify(t, x.Dir()).findings, verify(t, "--quick", x.Dir()).findings, size)
			write(t, path, file)
		}
		// a name of another stream, and of another CRC
		for _, change := range []func(*chunkgen.Ref){
			func(r *chunkgen.Ref) { r.Fingerprint++ }, func(r *chunkgen.Ref) { r.From++ },
			func(r *chunkgen.Ref) { r.Through++ }, func(r *chunkgen.Ref) { r.Tenant += "x" }, func(r *chunkgen.Ref) { r.Checksum++ },
		} {
			dir, other := t.TempDir(), ref
			change(&other)
			write(t, filepath.Join(dir, fileName(other)), file)
			want, got := verify(t, dir), verify(t, "--quick", dir)
			require.Equal(t, exitFindings, got.code)
			require.Equal(t, want.findings, got.findings)
		}
		require.Equal(t, exitSound, verify(t, "--quick", x.Dir()).code)
	}
}

// Of the generator's defects it finds what verify finds, but those in blocks only.
func TestVerifyQuickNamesDefects(t *testing.T) {
	x := largeStore(t, chunkgen.Options{Count: 24})
	damage(t, x)
	want, got := verify(t, x.Dir()).byPath(), verify(t, "--quick", x.Dir()).byPath()
	require.Len(t, want, 20)
	missed := 0
	for path, kinds := range want {
		if got[path] == nil {
			require.Subset(t, []string{"bad_crc", "block_crc"}, kinds, path)
			missed++
			continue
		}
		require.Equal(t, kinds, got[path], path)
	}
	require.Len(t, got, len(want)-missed)
	require.Less(t, missed, 5)
}

// Files whose ends don't tell enough come a second time, for room for all of them: also many at once, and some of them
// larger than a job's share of memory.
func TestVerifyQuickReadsUnusualFilesWhole(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 100, Size: 200_000, Block: 8192})
	y := generate(t, chunkgen.Options{Count: 2, Size: 3 << 20, Block: 8192, Seed: 7})
	z := largeStore(t, chunkgen.Options{Count: 3, Seed: 9})
	for _, other := range []*chunkgen.Index{y, z} {
		for _, r := range other.Refs {
			write(t, filepath.Join(x.Dir(), r.Path), read(t, other.Path(r)))
		}
	}
	for _, args := range [][]string{{"--jobs", "1"}, {"--jobs", "64"}, {"--jobs", "64", "--rate-limit", "200"},
		{"--jobs", "2", "--bypass-cache"}, {"--jobs", "3", "--backend", "threads"}} {
		r := verify(t, append(args, "--quick", x.Dir())...)
		require.Equal(t, exitSound, r.code, "%v", args)
		require.Equal(t, int64(105), r.summary.num("chunks"), "%v", args)
		require.Equal(t, int64(3), r.summary.num("chunks_quick"), "%v", args)
	}
	// No name says which CRC it should be.
	plain := filepath.Join(t.TempDir(), "chunk")
	write(t, plain, read(t, z.Path(z.Refs[0])))
	r := verify(t, "--quick", plain)
	require.Equal(t, exitSound, r.code)
	require.Zero(t, r.summary.num("chunks_quick"))
}

// Both corpora of odd and damaged chunks, all of them.
func TestVerifyQuickCorpora(t *testing.T) {
	dir := t.TempDir()
	for _, r := range corpus(t, "good") {
		write(t, filepath.Join(dir, "good", fileName(r)), corpusFile(t, "good", r))
	}
	for i, r := range badCorpus(t) {
		write(t, filepath.Join(dir, "bad", fmt.Sprint(i), fileName(r.Ref)), corpusFile(t, "bad", r.Ref))
	}
	var dirs []string
	entries, err := os.ReadDir(filepath.Join(dir, "bad"))
	require.NoError(t, err)
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(dir, "bad", e.Name()))
	}
	dirs = append(dirs, filepath.Join(dir, "good"))
	require.Equal(t, verify(t, dirs...).byPath(), verify(t, append(dirs, "--quick")...).byPath())
}
