// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// Every codec, format and layout that Loki writes is sound, to the last entry.
func TestVerifyLokisOwnStores(t *testing.T) {
	sound := func(schema string, format int, codec string) {
		t.Run(fmt.Sprintf("%s/%d/%s", schema, format, codec), func(t *testing.T) {
			x := generate(t, chunkgen.Options{Count: 3, Size: 9000, Tenants: 2, Streams: 2, Block: 4096,
				Schema: schema, Format: format, Codec: codec})
			entries := int64(0)
			for _, r := range x.Refs {
				entries += int64(r.Entries)
			}
			r := verify(t, "--deep", x.Dir())
			require.Empty(t, r.findings)
			require.Equal(t, exitSound, r.code)
			require.Equal(t, int64(len(x.Refs)), r.summary.num("chunks"))
			require.Equal(t, x.Bytes(), r.summary.num("bytes"))
			require.Equal(t, entries, r.summary.num("entries"))
			require.Equal(t, int64(1), r.summary.num("other_files"), "the generator's index")
		})
	}
	sound("v13", 1, "gzip") // the first format knows nothing else
	for format := 2; format <= 4; format++ {
		for _, codec := range []string{"none", "gzip", "lz4-64k", "lz4-256k", "lz4-1M", "lz4", "snappy", "flate", "zstd"} {
			sound("v13", format, codec)
		}
	}
	for _, schema := range []string{"v9", "v10", "v11", "v12"} { // a schema is a layout of names only
		for format := 1; format <= 4; format++ {
			sound(schema, format, "gzip")
		}
	}
}

// Chunks that Loki reads though its writer does not make them so: only bytes without a use are
// remarked on.
func TestVerifyGoodCorpus(t *testing.T) {
	unusual := map[string][]string{"v4-gap-before-blocks": {"gap"}, "v3-metas-tail": {"gap"}}
	for _, ref := range corpus(t, "good") {
		name := strings.TrimSuffix(ref.Path, ".chunk")
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, fileName(ref)), corpusFile(t, "good", ref))
			r := verify(t, "--deep", dir)
			require.Equal(t, unusual[name], r.kinds())
			require.Equal(t, int64(ref.Entries), r.summary.num("entries"))
		})
	}
}

// One rule a kind of defect: what its name begins with, and the findings that a deep verify gives.
// Of several rules the longest counts.
var badFindings = map[string]string{
	"outer-empty":                  "empty",
	"outer-cut-metalen":            "bad_crc truncated",
	"outer-cut-stream-id":          "bad_crc truncated",
	"outer-cut-frame":              "bad_crc truncated",
	"outer-cut-json":               "bad_crc truncated",
	"outer-cut-datalen":            "bad_crc truncated",
	"outer-cut-magic-1":            "bad_crc truncated",
	"outer-cut-":                   "bad_crc data_length",
	"outer-flip-metalen":           "bad_crc truncated",
	"outer-flip-stream-id":         "bad_crc meta_frame",
	"outer-flip-frame":             "bad_crc meta_frame_crc",
	"outer-flip-frame-header":      "bad_crc meta_length",
	"outer-flip-json":              "bad_crc meta_frame_crc",
	"outer-flip-datalen":           "bad_crc data_length",
	"outer-flip-magic":             "bad_crc magic",
	"outer-flip-version":           "bad_crc version",
	"outer-flip-codec":             "bad_crc codec",
	"outer-flip-symbols":           "bad_crc symbols_crc",
	"outer-flip-block":             "bad_crc block_crc",
	"outer-flip-metas":             "bad_crc metas_crc",
	"outer-flip-footer":            "bad_crc metas_range",
	"outer-trailing-byte":          "bad_crc data_length",
	"outer-other-chunk":            "bad_crc wrong_key",
	"outer-zeros":                  "bad_crc meta_length zeros",
	"outer-half-zeros":             "bad_crc metas_crc zeros",
	"outer-twice":                  "bad_crc data_length",
	"inner-metalen-plus":           "meta_frame",
	"inner-metalen-minus":          "meta_length",
	"inner-metalen-zero":           "meta_length",
	"inner-metalen-huge":           "truncated",
	"inner-metalen-sign":           "truncated",
	"inner-datalen":                "data_length",
	"inner-trailing-byte":          "data_length",
	"inner-cut-":                   "truncated",
	"inner-cut-to-0":               "empty",
	"inner-frame-":                 "meta_frame",
	"inner-frame-len-to-end":       "meta_length",
	"inner-frame-skippable-type":   "json",
	"inner-frame-crc":              "meta_frame_crc",
	"inner-frame-only-stream-id":   "json",
	"inner-frame-trailing":         "json",
	"inner-json-":                  "json",
	"inner-json-empty":             "meta_frame",
	"inner-json-null":              "encoding wrong_key",
	"inner-json-no-fields":         "encoding wrong_key",
	"inner-json-tenant":            "wrong_key",
	"inner-json-tenant-number":     "json",
	"inner-json-tenant-case":       "json_odd",
	"inner-json-fingerprint":       "wrong_key",
	"inner-json-fingerprint-neg":   "json",
	"inner-json-from":              "wrong_key",
	"inner-json-through":           "wrong_key",
	"inner-json-trailing":          "json_odd",
	"inner-json-twice":             "json_odd",
	"inner-json-encoding":          "encoding",
	"inner-json-encoding-huge":     "json",
	"inner-magic":                  "magic",
	"inner-version-":               "version",
	"inner-version-3-of-v4":        "metas_crc",
	"inner-version-4-of-v3":        "metas_range",
	"inner-version-1-of-v3":        "block_range",
	"inner-version-2-of-v3":        "block_range",
	"inner-codec-":                 "codec",
	"inner-codec-other":            "payload",
	"inner-codec-other-v4":         "payload symbols",
	"inner-data-":                  "truncated",
	"inner-data-12-bytes-v1":       "metas_range", // no footer fits less
	"inner-data-15-bytes-v1":       "metas_range",
	"inner-data-17-bytes-v1":       "metas_range",
	"inner-data-12-bytes-v3":       "metas_range",
	"inner-data-15-bytes-v3":       "metas_range",
	"inner-data-17-bytes-v3":       "metas_range",
	"inner-data-32-bytes-v4":       "metas_range",
	"inner-data-37-bytes-v4":       "metas_range",
	"inner-data-38-bytes-v4":       "metas_range",
	"inner-footer-cut":             "metas_range",
	"inner-footer-cut-8-v4":        "symbols_range", // what is now in the metas' place is small enough
	"inner-footer-cut-16-v4":       "symbols_range",
	"inner-metasoff":               "metas_range",
	"inner-metasoff-plus-1":        "metas_crc",
	"inner-metasoff-minus-1":       "metas_crc",
	"inner-metasoff-zero":          "metas_crc",
	"inner-metaslen":               "metas_range",
	"inner-metaslen-plus-1":        "metas_crc",
	"inner-metaslen-minus-1":       "metas_crc",
	"inner-metaslen-zero":          "metas_crc",
	"inner-symbolsoff":             "symbols_range",
	"inner-symbolsoff-plus-1":      "symbols_crc",
	"inner-symbolsoff-minus-1":     "symbols_crc",
	"inner-symbolsoff-zero":        "symbols_crc",
	"inner-symbolslen":             "symbols_range",
	"inner-symbolslen-plus-1":      "symbols_crc",
	"inner-symbolslen-minus-1":     "symbols_crc",
	"inner-symbolslen-zero":        "symbols_crc",
	"inner-symbols-wrap":           "symbols_range",
	"inner-metas-wrap":             "metas_range",
	"inner-metas-to-end":           "metas_range",
	"inner-metas-into-footer":      "metas_crc",
	"inner-metas-crc":              "metas_crc",
	"inner-metas-empty":            "no_blocks unlisted",
	"inner-metas-tail":             "gap",
	"inner-metas-cut":              "metas_end unlisted",
	"inner-sections-swapped":       "block_crc metas_end symbols time_range unlisted",
	"inner-num-":                   "metas_format",
	"inner-num-zero":               "gap no_blocks unlisted",
	"inner-num-one-less":           "gap unlisted",
	"inner-num-plus-1-":            "metas_end",
	"inner-num-plus-2-":            "metas_end",
	"inner-num-plus-3-":            "metas_end",
	"inner-num-plus-20":            "metas_end",
	"inner-num-plus-100-v4":        "block_overlap", // the bytes behind, taken for metas
	"inner-num-plus-100-tail-1-v4": "block_overlap",
	"inner-num-plus-100-tail-2-v4": "block_overlap",
	"inner-num-plus-100-tail-3-v4": "block_overlap",
	"inner-num-alone":              "metas_end unlisted",
	"inner-varint-num":             "gap no_blocks unlisted",
	"inner-varint-":                "metas_end unlisted",
	"inner-offset-":                "block_offset",
	"inner-offset-ends-0":          "block_range",
	"inner-offset-ends-1":          "block_range",
	"inner-offset-ends-2":          "block_range",
	"inner-offset-ends-3":          "block_range",
	"inner-offset-max":             "block_range",
	"inner-offset-min-":            "block_range",
	"inner-offset-minus-1":         "block_range",
	"inner-blocklen-":              "block_range",
	"inner-blocklen-plus":          "block_crc block_offset",
	"inner-blocklen-minus-1-v":     "block_crc block_offset gap",
	"inner-blocklen-zero":          "block_crc block_offset gap",
	"inner-blocks-overlap":         "block_offset gap",
	"inner-blocks-overlap-inside":  "block_offset",
	"inner-blocks-swapped":         "block_offset",
	"inner-blocks-100":             "block_overlap",
	"inner-blocks-none":            "no_blocks",
	"inner-block-":                 "block_crc",
	"inner-block-crc-then-offset":  "block_crc block_offset",
	"inner-block-empty":            "entry_count raw_size",
	"inner-times":                  "entry_time time_range",
	"inner-entries-huge":           "entry_count",
	"inner-uncompressed-huge":      "raw_size",
	"inner-symbols-":               "symbols",
	"inner-symbols-crc":            "symbols_crc",
	"inner-symbols-empty-tree":     "symbols",
	"inner-symbols-empty":          "symbol_ref",
	"inner-symbols-num-2to60":      "symbols_format",
	"inner-symbols-num-2to33":      "symbols_format",
	"inner-symbols-num-negative":   "symbols_format",
	"inner-symbols-num-minus-1":    "gap symbol_ref",
	"inner-symbols-num-zero":       "gap symbol_ref",
	"inner-symbols-num-overlong":   "gap symbol_ref",
	"inner-symbols-tail":           "gap",
	"inner-symbols-name":           "metadata_name",
	"inner-payload-":               "payload",
	"inner-payload-garbage-none":   "entry",
	"inner-payload-cut-none":       "entry_count raw_size",
	"inner-payload-tail-none":      "entry",
	"inner-payload-garbage-flate":  "entry_order entry_time", // garbage that is a flate stream
	"inner-payload-tail-flate":     "",                       // such a stream ends where it says: nobody looks behind
	"inner-entry-":                 "entry",
	"inner-entry-section-len":      "entry_count entry_time raw_size",
	"inner-entry-symbol-beyond":    "entry_count entry_time raw_size symbol_ref",
	"inner-entry-symbol-2to40":     "entry_count entry_time raw_size",
	"inner-entry-time":             "entry_count entry_time raw_size",
}

func expected(t *testing.T, name string) []string {
	best := ""
	for prefix := range badFindings {
		if strings.HasPrefix(name, prefix) && len(prefix) > len(best) {
			best = prefix
		}
	}
	require.NotEmpty(t, best, "no rule for %s", name)
	if badFindings[best] == "" {
		return nil
	}
	return strings.Fields(badFindings[best])
}

type badFile struct {
	ref      badRef
	findings []object
}

// findingsOfBadCorpus verifies every file of testdata/bad, each in a store of its own, in one run.
func findingsOfBadCorpus(t *testing.T) map[string]*badFile {
	dir := t.TempDir()
	all := map[string]*badFile{}
	var roots []string
	for _, ref := range badCorpus(t) {
		name := strings.TrimSuffix(filepath.Base(ref.Path), ".chunk")
		root := filepath.Join(dir, name)
		write(t, filepath.Join(root, fileName(ref.Ref)), corpusFile(t, "bad", ref.Ref))
		all[root] = &badFile{ref: ref}
		roots = append(roots, root)
	}
	r := verify(t, append([]string{"--deep"}, roots...)...)
	require.Equal(t, exitFindings, r.code)
	require.Equal(t, int64(len(roots)), r.summary.num("chunks"))
	for _, f := range r.findings {
		require.NotEmpty(t, f.str("detail"))
		require.NotEmpty(t, f.str("text"))
		file := all[f.str("root")]
		require.NotNil(t, file)
		file.findings = append(file.findings, f)
	}
	named := map[string]*badFile{}
	for root, f := range all {
		named[filepath.Base(root)] = f
	}
	return named
}

func TestVerifyBadCorpus(t *testing.T) {
	for name, f := range findingsOfBadCorpus(t) {
		require.Equal(t, expected(t, name), report{findings: f.findings}.kinds(), name)
	}
}

// What Loki itself does with a file is in the index: where it fails the severity is "error", where it
// serves every line it is not (quarantine takes errors), and no line is lost without a finding.
func TestSeveritiesAgreeWithLoki(t *testing.T) {
	for name, f := range findingsOfBadCorpus(t) {
		worst := ""
		for _, o := range f.findings {
			worst = max(worst, map[string]string{"warning": "1", "partial": "2", "error": "3"}[o.str("severity")])
		}
		stock := f.ref.Stock
		switch {
		case stock.Decode != "succeeds" || f.ref.Must == "reject":
			require.Equal(t, "3", worst, name)
		case stock.Iterate != "succeeds": // a query that comes so far fails
			require.GreaterOrEqual(t, worst, "2", name)
		case stock.Entries == f.ref.Entries:
			require.Less(t, worst, "3", name)
		default:
			require.NotEmpty(t, worst, name)
		}
	}
}

func flip(at int) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		b := read(t, path)
		b[at] ^= 1
		write(t, path, b)
	}
}

// damage plants the 20 defects of the README's walk-through.
func damage(t *testing.T, x *chunkgen.Index) []chunkgen.Planted {
	t.Helper()
	planted, err := chunkgen.Damage(x, chunkgen.Defects)
	require.NoError(t, err)
	require.Len(t, planted, 20)
	return planted
}

// One run finds all of them, each under its name, and nothing else.
func TestVerifyNamesTwentyDefects(t *testing.T) {
	x := smallStore(t)
	planted := damage(t, x)
	r := verify(t, x.Dir())
	require.Equal(t, exitFindings, r.code)
	kinds := map[string][]string{}
	for _, f := range r.findings {
		kinds[f.str("path")] = append(kinds[f.str("path")], f.str("kind"))
	}
	require.Len(t, kinds, 20)
	for _, p := range planted {
		require.Contains(t, kinds[p.Path], p.Finding, p.What)
	}
	require.Equal(t, int64(20), r.summary.num("files_error")+r.summary.num("files_partial")+r.summary.num("files_warning"))
	// 40 chunks: three of the planted files are no chunks any more
	require.Equal(t, int64(37), r.summary.num("chunks"))
}

// What else Loki and others keep in the store directory is none of our business.
func TestVerifyLeavesOtherFilesAlone(t *testing.T) {
	x := smallStore(t)
	for _, name := range []string{
		"index/index_19700/1710237600-compactor-1.tsdb.gz", "index/index_19700/fake/17.tsdb.gz",
		"index/delete_requests/delete_requests.gz", "loki_cluster_seed.json", "rules/fake/a.yaml",
		"bloom/table_19700/fake/metas/0-ff.json", "lost+found/.keep", ".snapshot/x", "compactor/retention/markers/1",
		"tenant-0/34fed081c46c3eb5/.chunkring-12-00000000deadbeef.tmp",
	} {
		write(t, filepath.Join(x.Dir(), name), []byte("x"))
	}
	r := verify(t, x.Dir())
	require.Empty(t, r.findings)
	require.Equal(t, exitSound, r.code)
	require.Equal(t, int64(40), r.summary.num("chunks"))
	require.Equal(t, int64(1), r.summary.num("temporary_files"))
}

func TestVerifyPartsOfAStore(t *testing.T) {
	x := smallStore(t)
	tenant := x.Refs[0].Tenant
	count := func(keep func(chunkgen.Ref) bool) (n int64) {
		for _, r := range x.Refs {
			if keep(r) {
				n++
			}
		}
		return n
	}
	mine := count(func(r chunkgen.Ref) bool { return r.Tenant == tenant })
	require.NotZero(t, mine)
	require.Less(t, mine, int64(40))
	require.Equal(t, mine, verify(t, "--tenant", tenant, x.Dir()).summary.num("chunks"))
	require.Equal(t, mine, verify(t, filepath.Join(x.Dir(), tenant)).summary.num("chunks"), "a tenant's folder")
	stream := filepath.Dir(x.Path(x.Refs[0]))
	files, err := os.ReadDir(stream)
	require.NoError(t, err)
	require.Equal(t, int64(len(files)), verify(t, stream).summary.num("chunks"), "a stream's folder")

	split := x.Refs[20].From
	after := count(func(r chunkgen.Ref) bool { return r.Through >= split })
	r := verify(t, "--since", fmt.Sprint(split), x.Dir())
	require.Equal(t, after, r.summary.num("chunks"))
	require.Equal(t, 40-after, r.summary.num("filtered"))
	before := count(func(r chunkgen.Ref) bool { return r.From < split })
	require.Equal(t, before, verify(t, "--until", fmt.Sprint(split), x.Dir()).summary.num("chunks"))

	var list []string
	for _, r := range x.Refs[:7] {
		list = append(list, x.Path(r))
	}
	out := runInput(t, strings.Join(list, "\x00"), "verify", "--json", "-0", "-")
	require.Equal(t, exitSound, out.code, out.stdout+out.stderr)
	require.Equal(t, int64(7), objects(t, out.stdout)[0].num("chunks"))
	out = runInput(t, strings.Join(list, "\n"), "verify", "--json", "-")
	require.Equal(t, int64(7), objects(t, out.stdout)[0].num("chunks"))
	require.Equal(t, int64(1), verify(t, list[0]).summary.num("chunks"))
}

func TestVerifyEveryBackendAndMode(t *testing.T) {
	x := smallStore(t)
	flip(500)(t, x.Path(x.Refs[3]))
	for _, args := range [][]string{
		{"--backend", "uring"}, {"--backend", "threads"}, {"--jobs", "1"}, {"--jobs", "64"},
		{"--bypass-cache"}, {"--rate-limit", "1000"}, {"--deep", "--bypass-cache", "--jobs", "3"},
	} {
		r := verify(t, append(args, x.Dir())...)
		require.Contains(t, r.kinds(), "bad_crc", "%v", args)
		require.Equal(t, int64(40), r.summary.num("chunks"), "%v", args)
		require.Equal(t, int64(1), r.summary.num("files_error"), "%v", args)
	}
}

// One larger than a job's share of memory, many that share a batch with it, one beyond the limit.
func TestVerifyLargeFiles(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 3, Size: 6 << 20, Codec: "none"})
	y := generate(t, chunkgen.Options{Count: 60, Size: 1500, Seed: 7})
	for _, r := range y.Refs {
		write(t, filepath.Join(x.Dir(), r.Path), read(t, y.Path(r)))
	}
	for _, jobs := range []string{"1", "8", "64"} {
		r := verify(t, "--deep", "--jobs", jobs, x.Dir())
		require.Equal(t, exitSound, r.code)
		require.Equal(t, int64(63), r.summary.num("chunks"))
	}
	require.NoError(t, os.Truncate(x.Path(x.Refs[0]), 64<<20+1))
	require.Equal(t, []string{"too_big"}, verify(t, x.Dir()).kinds())
}

// A Loki with its own client writes files in place, and deletes them: never a finding.
func TestVerifyBesideALiveLoki(t *testing.T) {
	x := smallStore(t)
	source := make([][]byte, len(x.Refs))
	for i, r := range x.Refs {
		source[i] = read(t, x.Path(r))
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; !stop.Load(); i += 4 {
				n := i % len(x.Refs)
				path := x.Path(x.Refs[n])
				if i%3 == 0 {
					_ = os.Remove(path)
					_ = os.Remove(filepath.Dir(path)) // as Loki does where it was the last one
					continue
				}
				_ = os.MkdirAll(filepath.Dir(path), 0o755)
				f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
				if err != nil {
					continue // the folder was just removed
				}
				half := len(source[n]) / 2
				_, _ = f.Write(source[n][:half])
				time.Sleep(2 * time.Millisecond)
				_, _ = f.Write(source[n][half:])
				_ = f.Close()
			}
		}()
	}
	torn := 0
	for i := 0; i < 5 || torn == 0 && i < 100; i++ { // a busy machine may not let a writer be met at once
		r := run(t, "verify", "--json", "--settle", "1", x.Dir())
		all := objects(t, r.stdout)
		require.Len(t, all, 1, r.stdout)
		require.Equal(t, exitSound, r.code, r.stderr)
		// and there was something to get wrong
		torn += len(verify(t, x.Dir()).findings)
	}
	stop.Store(true)
	wg.Wait()
	require.NotZero(t, torn, "no verify met a file that was being written: the test proves nothing")
}

// A damaged file that is at rest is told, however new it is.
func TestVerifySettles(t *testing.T) {
	x := smallStore(t)
	flip(600)(t, x.Path(x.Refs[0]))
	r := run(t, "verify", "--json", "--settle", "1", x.Dir())
	require.Equal(t, exitFindings, r.code)
	require.Contains(t, r.stdout, `"bad_crc"`)
	sum := objects(t, r.stdout)
	require.Equal(t, int64(40), sum[len(sum)-1].num("chunks"))
}

func TestVerifyResumes(t *testing.T) {
	for _, schema := range []string{"v11", "v13"} {
		t.Run(schema, func(t *testing.T) {
			x := generate(t, chunkgen.Options{Count: 3000, Size: 4000, Tenants: 3, Streams: 100, Schema: schema})
			want := map[string]bool{}
			for i := 0; i < len(x.Refs); i += 100 {
				flip(1000)(t, x.Path(x.Refs[i]))
				want[x.Path(x.Refs[i])] = true
			}
			state := filepath.Join(t.TempDir(), "state")
			got := map[string]bool{}
			runs, last := 0, object(nil)
			for done := false; !done; runs++ {
				require.Less(t, runs, 50)
				cmd := exec.Command(binary(t), "verify", "--json", "--settle", "0", "--rate-limit", "10",
					"--jobs", "2", "--state", state, x.Dir())
				var out, errs strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &errs
				require.NoError(t, cmd.Start())
				time.Sleep(400 * time.Millisecond)
				_ = cmd.Process.Signal(syscall.SIGINT)
				_ = cmd.Wait()
				all := objects(t, out.String())
				require.NotEmpty(t, all, errs.String())
				last = all[len(all)-1]
				for _, o := range all[:len(all)-1] {
					got[o.str("path")] = true
				}
				done = last["complete"].(bool)
				if !done {
					require.Equal(t, exitTrouble, cmd.ProcessState.ExitCode())
					require.FileExists(t, state)
				} else {
					require.Equal(t, exitFindings, cmd.ProcessState.ExitCode())
				}
			}
			require.Greater(t, runs, 1, "it was never interrupted: the test proves nothing")
			require.Equal(t, want, got)
			require.Equal(t, int64(3000), last.num("chunks"), "each is counted once")
			require.Equal(t, int64(30), last.num("files_error"))
			require.NoFileExists(t, state)
		})
	}
}

func TestVerifyRefusesAnothersState(t *testing.T) {
	x, y := smallStore(t), smallStore(t)
	state := filepath.Join(t.TempDir(), "state")
	write(t, state, []byte("something else\n"))
	r := run(t, "verify", "--state", state, x.Dir())
	require.Equal(t, exitTrouble, r.code)
	require.Contains(t, r.stderr, "not a state file")
	write(t, state, []byte("chunkctl state 3\noptions deep=0 quick=0 since=0 until=0 dir="+y.Dir()+"\nend\n"))
	r = run(t, "verify", "--state", state, x.Dir())
	require.Equal(t, exitTrouble, r.code)
	require.Contains(t, r.stderr, "another command line")
	write(t, state, []byte("chunkctl state 3\noptions deep=0 quick=1 since=0 until=0 dir="+x.Dir()+"\nend\n"))
	r = run(t, "verify", "--state", state, x.Dir())
	require.Equal(t, exitTrouble, r.code, "what --quick found says nothing of blocks")
	require.Contains(t, r.stderr, "another command line")
	write(t, state, []byte("chunkctl state 3\noptions deep=0 quick=0 since=0 until=0 dir="+x.Dir()+"\nat 0 1"))
	r = run(t, "verify", "--state", state, x.Dir())
	require.Equal(t, exitTrouble, r.code)
	require.Contains(t, r.stderr, "damaged")
}

// The text names every file and every kind that the JSON names.
func TestVerifyText(t *testing.T) {
	x := smallStore(t)
	damage(t, x)
	j := verify(t, x.Dir())
	r := run(t, "verify", "--settle", "0", x.Dir())
	require.Equal(t, exitFindings, r.code)
	for _, f := range j.findings {
		require.Contains(t, r.stdout, f.str("path")+": "+f.str("severity")+": "+f.str("kind")+": ")
	}
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	sort.Strings(lines)
	require.NotContains(t, r.stdout, "\033")
	q := run(t, "verify", "--quiet", "--settle", "0", x.Dir())
	require.Len(t, strings.Split(strings.TrimSpace(q.stdout), "\n"), len(j.findings))
}

// A sound chunk in the wrong place or with another name is an error of its store. Given alone it is not called sound
// without a word on that.
func TestSoundFilesInTheWrongPlace(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 3, Size: 2000, Tenants: 1, Streams: 1})
	own := x.Path(x.Refs[0])
	misplaced := filepath.Join(x.Dir(), x.Refs[1].Tenant, filepath.Base(x.Refs[1].Path))
	renamed := x.Path(x.Refs[2]) + ".bak"
	require.NoError(t, os.Rename(x.Path(x.Refs[1]), misplaced))
	require.NoError(t, os.Rename(x.Path(x.Refs[2]), renamed))
	require.Equal(t, []string{"misplaced", "name"}, verify(t, x.Dir()).kinds())
	const there = "but Loki does not look for it there"
	for path, key := range map[string]string{
		misplaced: "none: the name is a chunk's, but its folders are not TENANT/FINGERPRINT", renamed: "none: the name is not a chunk's",
	} {
		r := run(t, "info", path)
		require.Equal(t, exitSound, r.code)
		require.Contains(t, r.stdout, key)
		require.Contains(t, r.stdout, "sound, "+there)
		r = run(t, "verify", path)
		require.Equal(t, exitSound, r.code)
		require.Contains(t, r.stdout, "\nsound, but Loki does not look for every file there\n")
	}
	require.NotContains(t, run(t, "info", own).stdout, there)
	require.Contains(t, run(t, "verify", own).stdout, "\nsound\n")
}

// Which Loki serves a symbolic link.
func TestSummaryOfSymbolicLinks(t *testing.T) {
	x := smallStore(t)
	flip(500)(t, x.Path(x.Refs[0]))
	const exception = "in spite of it (symbolic links not where chunkring is enabled)\n"
	require.NotContains(t, run(t, "verify", "--settle", "0", x.Dir()).stdout, exception)
	require.NoError(t, os.Remove(x.Path(x.Refs[1])))
	require.NoError(t, os.Symlink(os.DevNull, x.Path(x.Refs[1])))
	require.Contains(t, run(t, "verify", "--settle", "0", x.Dir()).stdout, exception)
}
