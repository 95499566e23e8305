// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/logproto"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// Byte for byte what Loki's own iterator gives, structured metadata included, for every chunk of
// testdata/good: all formats and codecs, long, empty and unordered lines.
func TestCatGoodCorpus(t *testing.T) {
	for _, ref := range corpus(t, "good") {
		file := corpusFile(t, "good", ref)
		want := lokiEntries(t, ref, file)
		require.Len(t, want, ref.Entries, ref.Path)
		path := filepath.Join(testdata, "good", ref.Path)

		r := run(t, "cat", "--format", "json", path)
		require.Equal(t, exitSound, r.code, r.stderr)
		require.Equal(t, want, catEntries(t, r.stdout), ref.Path)

		var raw strings.Builder
		for _, e := range want {
			raw.WriteString(e.line + "\n")
		}
		r = run(t, "cat", path)
		require.Equal(t, exitSound, r.code, r.stderr)
		require.True(t, raw.String() == r.stdout, ref.Path)
	}
}

// Whole stores, merged: all entries of all chunks, each chunk's in its order, the times ascending.
func TestCatStores(t *testing.T) {
	for _, codec := range []string{"none", "gzip", "lz4", "snappy", "flate", "zstd"} {
		x := generate(t, chunkgen.Options{Count: 12, Size: 20000, Tenants: 2, Streams: 3, Block: 8192, Codec: codec})
		var want []entry
		for _, r := range x.Refs {
			want = append(want, lokiEntries(t, r, read(t, x.Path(r)))...)
		}
		r := run(t, "cat", "--format", "json", x.Dir())
		require.Equal(t, exitSound, r.code, r.stderr)
		got := catEntries(t, r.stdout)
		require.True(t, slices.IsSortedFunc(got, func(a, b entry) int { return cmp.Compare(a.ts, b.ts) }))
		sorted(want)
		sorted(got)
		require.Equal(t, len(want), len(got))
		require.True(t, slices.Equal(want, got))
	}
}

func TestCatFilters(t *testing.T) {
	x := smallStore(t)
	tenant := x.Refs[0].Tenant
	var want []entry
	for _, r := range x.Refs {
		if r.Tenant == tenant {
			want = append(want, lokiEntries(t, r, read(t, x.Path(r)))...)
		}
	}
	slices.SortFunc(want, func(a, b entry) int { return cmp.Compare(a.ts, b.ts) })
	lines := func(args ...string) int {
		r := run(t, append(append([]string{"cat", "--tenant", tenant}, args...), x.Dir())...)
		require.Equal(t, exitSound, r.code, r.stderr)
		return strings.Count(r.stdout, "\n")
	}
	count := func(keep func(entry) bool) (n int) {
		for _, e := range want {
			if keep(e) {
				n++
			}
		}
		return n
	}
	require.Equal(t, len(want), lines())
	since, until := want[len(want)/3].ts/1e6, want[len(want)/2].ts/1e6
	require.Equal(t, count(func(e entry) bool { return e.ts >= since*1e6 && e.ts < until*1e6 }),
		lines("--since", fmt.Sprint(since), "--until", fmt.Sprint(until)))
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }
	require.Equal(t, count(func(e entry) bool { return e.ts >= since*1e6 && e.ts < until*1e6 }),
		lines("--since", at(since), "--until", at(until)))

	gets := count(func(e entry) bool { return strings.Contains(e.line, "GET") })
	require.NotZero(t, gets)
	require.Equal(t, gets, lines("--grep", "GET"))
	require.Equal(t, len(want)-gets, lines("--grep", "GET", "-v"))
	require.Equal(t, count(func(e entry) bool { return strings.Contains(strings.ToLower(e.line), "get") }),
		lines("--grep", "gEt", "-i"))
	require.Equal(t, count(func(e entry) bool { return strings.Contains(e.line, "GET") || strings.Contains(e.line, "PUT") }),
		lines("--regex", "GET|PUT"))
	require.Equal(t, 5, lines("--limit", "5"))
	require.Equal(t, len(want), lines("--match", `{app=~"access|logfmt|json|java"}`))
	apps := lines("--match", `{app="access"}`)
	require.NotZero(t, apps)
	require.Equal(t, len(want)-apps, lines("--match", `{app!="access", nothere=""}`))
	require.Zero(t, lines("--match", `{app="nothere"}`, "--allow-empty"))
}

// Chunks that are there twice, as two ingesters write them. What one chunk repeats is left out as well,
// as in Loki's answers.
func TestCatDedup(t *testing.T) {
	x := smallStore(t)
	dir := t.TempDir()
	list := paths(x)
	for i, r := range x.Refs {
		twin := filepath.Join(dir, fmt.Sprint(i))
		write(t, twin, read(t, x.Path(r)))
		list = append(list, twin)
	}
	once := run(t, "cat", "--format", "json", "--dedup", x.Dir())
	require.Equal(t, exitSound, once.code)
	input := strings.Join(list, "\n")
	require.Equal(t, 2*strings.Count(run(t, "cat", x.Dir()).stdout, "\n"), strings.Count(runInput(t, input, "cat", "-").stdout, "\n"))
	twice := runInput(t, input, "cat", "--format", "json", "--dedup", "-")
	require.Equal(t, sorted(catEntries(t, once.stdout)), sorted(catEntries(t, twice.stdout)))
}

func sorted(all []entry) []entry {
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(a.line, b.line), cmp.Compare(a.metadata, b.metadata))
	})
	return all
}

func paths(x *chunkgen.Index) (all []string) {
	for _, r := range x.Refs {
		all = append(all, x.Path(r))
	}
	return all
}

// Bytes that are no UTF-8, control characters, NULs, quotes: exact in every format that can be.
func TestCatOddLines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		b := make([]byte, random.IntN(60))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		return string(b)
	}
	odd := 0
	for _, format := range []byte{3, 4} {
		var entries []logproto.Entry
		for i := range 300 {
			e := logproto.Entry{Timestamp: time.Unix(1710237600, int64(i)), Line: text()}
			if format == 4 {
				e.StructuredMetadata = []logproto.LabelAdapter{{Name: "a.b-c", Value: text()}, {Name: "2nd", Value: "x"}}
			}
			entries = append(entries, e)
		}
		ref, file := build(t, format, entries)
		path := filepath.Join(t.TempDir(), fileName(ref))
		write(t, path, file)
		want := lokiEntries(t, ref, file)
		require.Len(t, want, 300)
		for _, e := range want {
			if strings.ToValidUTF8(e.line, "") != e.line {
				odd++
			}
		}
		require.Equal(t, want, catEntries(t, run(t, "cat", "--format", "json", path).stdout))
		raw := run(t, "cat", path).stdout
		for _, e := range want {
			require.True(t, strings.HasPrefix(raw, e.line+"\n"))
			raw = raw[len(e.line)+1:]
		}
		require.Empty(t, raw)
		logfmt := run(t, "cat", "--format", "logfmt", path).stdout
		require.Equal(t, len(want), strings.Count(logfmt, "\n"), "a line a line")
		require.Equal(t, strings.ToValidUTF8(logfmt, ""), logfmt)
	}
	require.NotZero(t, odd)
}

// Reading on: what is whole in a damaged chunk, and a warning for the rest.
func TestCatDamaged(t *testing.T) {
	x := smallStore(t)
	good := run(t, "cat", x.Dir())
	ref := x.Refs[0]
	flip(ref.Size/2)(t, x.Path(ref)) // within a block
	r := run(t, "cat", x.Dir())
	require.Equal(t, exitFindings, r.code)
	require.Contains(t, r.stderr, "wrong checksum")
	require.Contains(t, r.stderr, ref.Path)
	less := strings.Count(r.stdout, "\n")
	require.Less(t, less, strings.Count(good.stdout, "\n"))
	require.Greater(t, less, strings.Count(good.stdout, "\n")-ref.Entries, "the other blocks are there")

	require.NoError(t, os.Truncate(x.Path(ref), int64(ref.Size/2)))
	r = run(t, "cat", x.Dir())
	require.Equal(t, exitFindings, r.code)
	require.Contains(t, r.stderr, "chunkctl salvage")
	require.Equal(t, strings.Count(good.stdout, "\n")-ref.Entries, strings.Count(r.stdout, "\n"))
}

// No file of testdata/bad upsets it; and where Loki reads one to its end, so does cat.
func TestBadCorpusSurvived(t *testing.T) {
	var list []string
	for _, ref := range corpus(t, "bad") {
		list = append(list, filepath.Join(testdata, "bad", ref.Path))
	}
	for _, args := range [][]string{
		{"cat", "-"}, {"cat", "--format", "json", "-"}, {"cat", "--format", "logfmt", "--match", `{app!=""}`, "-"},
		{"ls", "-"}, {"ls", "--totals", "stream", "--json", "-"}, {"info", "-"}, {"info", "--json", "-"},
		{"verify", "--deep", "-"},
	} {
		r := runInput(t, strings.Join(list, "\n"), args...)
		require.Equal(t, exitFindings, r.code, "%v: %s", args, r.stderr)
	}
	for _, path := range list {
		r := run(t, "salvage", path, "-o", "-", "--format", "json")
		if r.code == exitTrouble { // the corpus' names are no chunks'
			require.Contains(t, r.stderr, "it is no chunk", path)
		} else {
			require.Contains(t, []int{exitSound, exitFindings}, r.code, path)
		}
		objects(t, r.stdout)
	}
}

// ---- salvage ----

// A file cut anywhere gives every block before the cut; of one with a flipped byte only that block
// is lost; without its metadata it loses nothing, and nothing with a flipped bit in the header of its data.
func TestSalvage(t *testing.T) {
	for _, codec := range []string{"none", "gzip", "lz4", "snappy", "flate", "zstd"} {
		for _, format := range []int{3, 4} {
			t.Run(fmt.Sprintf("%s/%d", codec, format), func(t *testing.T) {
				x := generate(t, chunkgen.Options{Count: 1, Size: 20000, Block: 6000, Codec: codec, Format: format})
				ref := x.Refs[0]
				file := read(t, x.Path(ref))
				want := lokiEntries(t, ref, file)
				info := objects(t, run(t, "info", "--json", x.Path(ref)).stdout)[0]
				blocks := info["block_list"].([]any)
				require.Greater(t, len(blocks), 2)
				ends := make([]int, len(blocks))
				before := make([]int, len(blocks)+1)
				for i, b := range blocks {
					o := object(b.(map[string]any))
					ends[i] = int(o.num("offset")+o.num("bytes")) + 4
					before[i+1] = before[i] + int(o.num("entries"))
				}
				salvage := func(b []byte, code int) []entry {
					path := filepath.Join(t.TempDir(), "damaged")
					write(t, path, b)
					r := run(t, "salvage", path, "-o", path+".out", "--format", "json")
					require.Equal(t, code, r.code, r.stderr)
					return append([]entry{}, catEntries(t, string(read(t, path+".out")))...)
				}
				require.Equal(t, want, salvage(file, exitSound))
				for i, end := range ends {
					require.Equal(t, want[:before[i+1]], salvage(file[:end], exitFindings), "cut behind block %d", i)
					require.Equal(t, want[:before[i]], salvage(file[:end-1], exitFindings), "cut in block %d", i)
				}
				broken := slices.Clone(file)
				broken[ends[0]+20] ^= 1 // in the second block
				require.Equal(t, slices.Concat(want[:before[1]], want[before[2]:]), salvage(broken, exitFindings))
				headless := slices.Clone(file)
				headless[20] ^= 1 // in the metadata
				require.Equal(t, want, salvage(headless, exitSound))
				data := int(object(info["data"].(map[string]any)).num("offset"))
				for bit := range 8 { // of the version, the codec
					for at := data + 4; at < data+6; at++ {
						header := slices.Clone(file)
						header[at] ^= 1 << bit
						require.Equal(t, want, salvage(header, exitSound), "byte %d, bit %d of the header", at-data, bit)
					}
				}
				magic := slices.Clone(file)
				magic[data] ^= 1
				require.Equal(t, want, salvage(magic, exitSound), "without a magic number")
				magic = magic[:ends[1]]
				require.Equal(t, want[:before[2]], salvage(magic, exitFindings), "cut, and without a magic number")
				if codec != "none" && codec != "flate" { // whose blocks don't tell where they begin
					cut := broken[:ends[len(ends)-1]]
					require.Equal(t, slices.Concat(want[:before[1]], want[before[2]:]), salvage(cut, exitFindings))
				}
			})
		}
	}
}

// It says what is damaged, and no more.
func TestSalvageSaysWhy(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 1, Size: 20000})
	file := read(t, x.Path(x.Refs[0]))
	path := filepath.Join(t.TempDir(), fileName(x.Refs[0]))
	for _, c := range []struct {
		name         string
		file         []byte
		says, saysNo string
	}{
		{"twice", slices.Concat(file, file), "the data length is wrong; looking for the end of the data", "metadata"},
		{"empty", nil, "how much is lost can't be told: no data is left", "block list"},
		{"one byte", file[:1], "how much is lost can't be told: no data is left", "block list"},
		{"no metadata", slices.Concat([]byte{0, 0, 0, 0}, file[4:]), "the metadata is damaged; reading the data without it", "data length"},
		{"cut", file[:len(file)-1], "how much is lost can't be told: the block list is damaged", "no data"},
	} {
		write(t, path, c.file)
		r := run(t, "salvage", path, "-o", "-")
		require.Contains(t, r.stderr, c.says, c.name)
		require.NotContains(t, r.stderr, c.saysNo, c.name)
	}
}

func TestSalvageNeverOverwrites(t *testing.T) {
	x := smallStore(t)
	there := filepath.Join(t.TempDir(), "there")
	write(t, there, []byte("mine"))
	r := run(t, "salvage", x.Path(x.Refs[0]), "-o", there)
	require.Equal(t, exitTrouble, r.code)
	require.Equal(t, "mine", string(read(t, there)))
}
