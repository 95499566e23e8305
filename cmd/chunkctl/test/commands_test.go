// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// ---- ls ----

func TestLsTellsWhatTheIndexKnows(t *testing.T) {
	for _, opts := range []chunkgen.Options{
		{Count: 30, Size: 3000, Tenants: 2, Streams: 3},
		{Count: 2, Size: 300000, Codec: "gzip", Format: 4}, // read in parts
		{Count: 2, Size: 300000, Codec: "zstd", Format: 3},
		{Count: 2, Size: 300000, Codec: "none", Format: 2, Schema: "v11"},
		{Count: 6, Size: 9000, Format: 1, Codec: "gzip", Schema: "v10"},
	} {
		x := generate(t, opts)
		r := run(t, "ls", "--json", "--sort", "from", x.Dir())
		require.Equal(t, exitSound, r.code, r.stderr)
		byPath := map[string]object{}
		last := int64(0)
		for _, o := range objects(t, r.stdout) {
			byPath[o.str("path")] = o
			require.GreaterOrEqual(t, o.num("from_ms"), last)
			last = o.num("from_ms")
		}
		require.Len(t, byPath, len(x.Refs))
		for _, ref := range x.Refs {
			o := byPath[x.Path(ref)]
			require.NotNil(t, o)
			require.Equal(t, ref.Tenant, o.str("tenant"))
			require.Equal(t, strconv.FormatUint(uint64(ref.Fingerprint), 16), o.str("fingerprint"))
			require.Equal(t, []int64{ref.From, ref.Through, int64(ref.Size), int64(ref.Format), int64(ref.Blocks), int64(ref.Entries)},
				[]int64{o.num("from_ms"), o.num("through_ms"), o.num("size"), o.num("format"), o.num("blocks"), o.num("entries")})
			require.Equal(t, ref.Codec, o.str("codec"))
			require.NotEmpty(t, o["labels"].(map[string]any)["app"])
		}
	}
}

func TestLsTotals(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 50, Size: 3000, Tenants: 3, Streams: 4})
	for _, key := range []string{"none", "tenant", "stream", "codec", "day"} {
		all := objects(t, run(t, "ls", "--totals", key, "--json", x.Dir()).stdout)
		var chunks, classes, groups int64
		for _, o := range all {
			switch o.str("type") {
			case "total":
				chunks += o.num("chunks")
				groups++
			case "size_class":
				classes += o.num("chunks")
			case "all":
				require.Equal(t, []int64{50, x.Bytes(), 50}, []int64{o.num("chunks"), o.num("bytes"), o.num("tiny_chunks")})
			}
		}
		require.Equal(t, int64(50), classes)
		require.Equal(t, map[string]int64{"none": 0, "tenant": 3, "stream": 12, "codec": 1, "day": groups}[key], groups)
		if key != "none" {
			require.Equal(t, int64(50), chunks)
		}
	}
	r := run(t, "ls", "--totals", "tenant", x.Dir())
	require.Contains(t, r.stdout, "1 to 4 KB")
}

func TestLsDamaged(t *testing.T) {
	x := smallStore(t)
	require.NoError(t, os.Truncate(x.Path(x.Refs[0]), 500))
	r := run(t, "ls", x.Dir())
	require.Equal(t, exitFindings, r.code)
	require.Contains(t, r.stdout, "damaged: data_length")
	require.Equal(t, 40, strings.Count(r.stdout, "\n"))
	require.NoError(t, os.Truncate(x.Path(x.Refs[1]), 0))
	r = run(t, "ls", x.Dir())
	require.Equal(t, exitFindings, r.code)
	require.Equal(t, 1, strings.Count(r.stdout, "damaged: truncated"))
	require.Equal(t, 40, strings.Count(r.stdout, "\n"))
}

// The blocks of large files are not read: not by ls, and not by cat to know the labels. What is wrong with a file's ends
// is told all the same, and so is what is in a file that has another name or many small blocks.
func TestLsReadsEnds(t *testing.T) {
	x := largeStore(t, chunkgen.Options{Count: 10, Streams: 2})
	_, none := runCounted(t, "ls", "--allow-empty", t.TempDir())
	r, got := runCounted(t, "ls", "--json", x.Dir())
	require.Equal(t, 10, strings.Count(r.stdout, "\n"))
	require.Greater(t, got-none, int64(10*8<<10), "what io_uring reads is not counted, but these files are in the page cache")
	require.Less(t, got-none, int64(10*64<<10))
	_, got = runCounted(t, "cat", "--match", `{app="nothere"}`, "--allow-empty", x.Dir())
	require.Less(t, got-none, int64(10*64<<10))

	small := generate(t, chunkgen.Options{Count: 1, Size: 200_000, Block: 4096})
	list := []string{x.Path(x.Refs[0]), small.Path(small.Refs[0])}
	for i, ref := range []chunkgen.Ref{x.Refs[1], small.Refs[0]} {
		from := []*chunkgen.Index{x, small}[i]
		plain := filepath.Join(t.TempDir(), "chunk")
		write(t, plain, read(t, from.Path(ref)))
		list = append(list, plain)
	}
	rows := objects(t, runInput(t, strings.Join(list, "\n"), "ls", "--json", "--sort", "size", "-").stdout)
	require.Len(t, rows, 4)
	for _, row := range rows {
		require.NotZero(t, row.num("entries"), "%v", row)
		require.NotEmpty(t, row["labels"].(map[string]any)["app"], "%v", row)
	}
	require.Equal(t, int64(small.Refs[0].Entries), rows[0].num("entries"))
	require.Equal(t, int64(small.Refs[0].Entries), rows[1].num("entries"))

	flip(x.Refs[2].Size-60)(t, x.Path(x.Refs[2])) // of the block metas
	r = run(t, "ls", x.Dir())
	require.Equal(t, exitFindings, r.code)
	require.Equal(t, 1, strings.Count(r.stdout, "damaged: metas_crc"))
	require.Equal(t, 10, strings.Count(r.stdout, "\n"))
}

// ---- info ----

func TestInfo(t *testing.T) {
	x := smallStore(t)
	ref := x.Refs[0]
	r := run(t, "info", x.Path(ref))
	require.Equal(t, exitSound, r.code)
	for _, want := range []string{ref.Tenant, fmt.Sprintf("%x", uint64(ref.Fingerprint)), "snappy", "format 4",
		fmt.Sprintf("sound: %d entries", ref.Entries), "as in the name", `app="`} {
		require.Contains(t, r.stdout, want)
	}
	o := objects(t, run(t, "info", "--json", x.Path(ref)).stdout)[0]
	require.Len(t, o["block_list"], ref.Blocks)
	require.Empty(t, o["findings"])

	second := object(o["block_list"].([]any)[1].(map[string]any))
	flip(int(second.num("offset"))+3)(t, x.Path(ref))
	r = run(t, "info", "--json", x.Path(ref))
	require.Equal(t, exitFindings, r.code)
	found := objects(t, r.stdout)[0]["findings"].([]any)
	require.Len(t, found, 2) // the file's CRC, and the block's: where exactly
	block := object(found[1].(map[string]any))
	require.Equal(t, "block_crc", block.str("kind"))
	require.Equal(t, []int64{1, second.num("offset")}, []int64{block.num("block"), block.num("offset")})
}

// ---- quarantine ----

func plantedStore(t *testing.T, count int) (*chunkgen.Index, map[string]bool, string) {
	x := generate(t, chunkgen.Options{Count: count, Size: 2000, Tenants: 2, Streams: 10})
	damaged := map[string]bool{}
	for i := 0; i < len(x.Refs); i += 2 {
		flip(300)(t, x.Path(x.Refs[i]))
		damaged[x.Refs[i].Path] = true
	}
	report := filepath.Join(t.TempDir(), "report.json")
	write(t, report, []byte(run(t, "verify", "--json", "--settle", "0", x.Dir()).stdout))
	return x, damaged, report
}

func TestQuarantine(t *testing.T) {
	x, damaged, report := plantedStore(t, 40)
	before := tree(t, x.Dir())

	r := run(t, "quarantine", x.Dir(), "--from", report)
	require.Equal(t, exitSound, r.code, r.stderr)
	require.Equal(t, 20, strings.Count(r.stdout, ": bad_crc"))
	require.Equal(t, before, tree(t, x.Dir()), "a dry run changes nothing")

	// one was repaired since, one was deleted: neither is moved
	repaired, deleted := x.Refs[0], x.Refs[2]
	flip(300)(t, x.Path(repaired))
	require.NoError(t, os.Remove(x.Path(deleted)))
	before = tree(t, x.Dir())
	r = run(t, "quarantine", x.Dir(), "--from", report, "--yes", "--json")
	require.Equal(t, exitSound, r.code, r.stderr)
	all := objects(t, r.stdout)
	sum := all[len(all)-1]
	require.Equal(t, []int64{18, 2, 0}, []int64{sum.num("moved"), sum.num("skipped"), sum.num("failed")})
	v := verify(t, x.Dir())
	require.Equal(t, exitSound, v.code)
	require.Equal(t, int64(21), v.summary.num("chunks"))
	for path := range damaged {
		if path != repaired.Path && path != deleted.Path {
			require.NoFileExists(t, filepath.Join(x.Dir(), path))
			require.FileExists(t, filepath.Join(x.Dir(), ".chunkctl-quarantine", sum.str("quarantine"), "files", path))
		}
	}

	r = run(t, "quarantine", x.Dir(), "--restore")
	require.Equal(t, 18+1, strings.Count(r.stdout, "would restore "), "and the sum")
	r = run(t, "quarantine", x.Dir(), "--restore="+sum.str("quarantine"), "--yes")
	require.Equal(t, exitSound, r.code, r.stderr)
	after := tree(t, x.Dir())
	for path, content := range before {
		require.True(t, content == after[path], path)
	}
}

// A file that Loki wrote anew meanwhile is not overwritten by a restore.
func TestRestoreNeverOverwrites(t *testing.T) {
	x, _, report := plantedStore(t, 10)
	run(t, "quarantine", x.Dir(), "--from", report, "--yes")
	write(t, x.Path(x.Refs[0]), []byte("new"))
	r := run(t, "quarantine", x.Dir(), "--restore", "--yes")
	require.Equal(t, exitFindings, r.code)
	require.Contains(t, r.stdout, "failed "+x.Refs[0].Path)
	require.Equal(t, "new", string(read(t, x.Path(x.Refs[0]))))
	require.FileExists(t, x.Path(x.Refs[2]))
}

// What was restored is not restored again, and that is told of each file.
func TestRestoreTwice(t *testing.T) {
	x, damaged, report := plantedStore(t, 10)
	run(t, "quarantine", x.Dir(), "--from", report, "--yes")
	require.Equal(t, exitSound, run(t, "quarantine", x.Dir(), "--restore", "--yes").code)
	for _, args := range [][]string{{"--restore"}, {"--restore", "--yes"}} {
		args = append([]string{"quarantine", x.Dir(), "--json"}, args...)
		r := run(t, args...)
		require.Equal(t, exitTrouble, r.code)
		require.Contains(t, r.stderr, "nothing is in quarantine in "+x.Dir()+" any more")
		all := objects(t, r.stdout)
		require.Len(t, all, len(damaged)+1)
		for _, o := range all[:len(damaged)] {
			require.True(t, damaged[o.str("file")])
			require.Equal(t, "skipped", o.str("action"))
			require.Contains(t, o.str("why"), "not in quarantine")
		}
		require.Equal(t, exitSound, run(t, append(args, "--allow-empty")...).code)
	}
}

// What a crash leaves that came before the manifest: nothing was moved, nothing is to be restored.
func TestRestoreWithoutManifest(t *testing.T) {
	x, _, report := plantedStore(t, 10)
	require.Equal(t, exitSound, run(t, "quarantine", x.Dir(), "--from", report, "--yes").code)
	require.NoError(t, os.Mkdir(filepath.Join(x.Dir(), ".chunkctl-quarantine", "20240312T100000Z-1"), 0o755))
	r := run(t, "quarantine", x.Dir(), "--restore", "--yes")
	require.Equal(t, exitSound, r.code, r.stderr)
	require.Contains(t, r.stdout, "restored 5 files")
	require.Equal(t, exitTrouble, run(t, "quarantine", x.Dir(), "--restore=20240312T100000Z-2").code)
}

// Files in the wrong place are taken as such, of both layouts; those that are back in their own place are not.
func TestQuarantineMisplaced(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 4, Size: 2000, Tenants: 1})
	flat := generate(t, chunkgen.Options{Count: 2, Size: 2000, Tenants: 1, Schema: "v11"})
	inTenant, inStream := filepath.Base(flat.Refs[0].Path), filepath.Base(flat.Refs[1].Path)
	stream := filepath.Dir(x.Refs[1].Path)
	moved := map[string][]byte{
		filepath.Join(x.Refs[0].Tenant, filepath.Base(x.Refs[0].Path)): read(t, x.Path(x.Refs[0])),
		filepath.Base(x.Refs[1].Path):                                  read(t, x.Path(x.Refs[1])),
		filepath.Join(x.Refs[0].Tenant, inTenant):                      read(t, flat.Path(flat.Refs[0])),
		filepath.Join(stream, inStream):                                read(t, flat.Path(flat.Refs[1])),
	}
	for file, content := range moved {
		write(t, filepath.Join(x.Dir(), file), content)
	}
	renamed := x.Refs[2].Path + ".bak"
	require.NoError(t, os.Rename(x.Path(x.Refs[2]), filepath.Join(x.Dir(), renamed)))
	report := filepath.Join(t.TempDir(), "report.json")
	v := run(t, "verify", "--json", "--settle", "0", x.Dir())
	write(t, report, []byte(v.stdout))
	require.Equal(t, int64(4), object(parseReport(t, v).summary["kinds"].(map[string]any)).num("misplaced"))

	for _, kinds := range []string{"misplaced", "misplaced,name"} {
		r := run(t, "quarantine", x.Dir(), "--from", report, "--kinds", kinds)
		require.Equal(t, exitSound, r.code, r.stderr)
		for file := range moved {
			require.Contains(t, r.stdout, "would move "+file+": misplaced\n", kinds)
		}
		require.Equal(t, kinds == "misplaced,name", strings.Contains(r.stdout, "would move "+renamed+": name\n"))
	}
	// a report may name what lies well
	write(t, report, []byte(`{"type":"finding","kind":"misplaced","root":`+strconv.Quote(x.Dir())+`,"file":`+strconv.Quote(x.Refs[3].Path)+"}\n"))
	r := run(t, "quarantine", x.Dir(), "--from", report, "--kinds", "misplaced")
	require.Contains(t, r.stdout, "skipped "+x.Refs[3].Path)
}

// Files of the report that are not taken are counted, each once.
func TestQuarantineCountsWhatItLeaves(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 40, Size: 20000, Block: 8192, Streams: 4})
	_, err := chunkgen.Damage(x, 20)
	require.NoError(t, err)
	report := filepath.Join(t.TempDir(), "report.json")
	write(t, report, []byte(run(t, "verify", "--json", "--settle", "0", x.Dir()).stdout))
	for _, c := range []struct {
		args        []string
		taken, left int64
	}{{nil, 17, 3}, {[]string{"--kinds", "name,misplaced"}, 2, 18}, {[]string{"--kinds", "block_crc"}, 1, 19}} {
		args := append([]string{"quarantine", x.Dir(), "--from", report}, c.args...)
		require.Contains(t, run(t, args...).stdout, fmt.Sprintf("left %d more of the report", c.left))
		all := objects(t, run(t, append(args, "--json")...).stdout)
		sum := all[len(all)-1]
		require.Equal(t, []int64{c.taken, c.left}, []int64{sum.num("moved"), sum.num("left")}, "%v", c.args)
	}
}

// Who may not write to the store is told so, and of nothing that did not happen.
func TestQuarantineWithoutPermission(t *testing.T) {
	x, _, report := plantedStore(t, 10)
	// Root's tests run it as nobody, whose the files are not; any other user's take the permission away.
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(report)), 0o755))
	require.NoError(t, os.Chmod(x.Dir(), 0o555))
	t.Cleanup(func() { _ = os.Chmod(x.Dir(), 0o755) })
	before := tree(t, x.Dir())
	check := func() {
		r := runUnprivileged(t, "quarantine", x.Dir(), "--from", report, "--yes")
		require.Equal(t, exitTrouble, r.code)
		require.Contains(t, r.stderr, "making "+x.Dir()+"/.chunkctl-quarantine/")
		require.Contains(t, r.stderr, "Permission denied")
		require.Contains(t, r.stderr, "run it as the user that Loki runs as")
		require.NotContains(t, r.stderr, "No such file")
		require.Contains(t, r.stdout, "moved 0 files")
		require.NotContains(t, r.stdout, "they are in")
		require.NotContains(t, r.stdout, "interrupted")
		all := objects(t, runUnprivileged(t, "quarantine", x.Dir(), "--from", report, "--yes", "--json").stdout)
		sum := all[len(all)-1]
		require.NotContains(t, sum, "quarantine")
		require.False(t, sum["complete"].(bool))
		require.Equal(t, before, tree(t, x.Dir()))
	}
	check()
	require.NoError(t, os.Chmod(x.Dir(), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(x.Dir(), ".chunkctl-quarantine"), 0o555))
	check()
}

func TestQuarantineRefusesForeignReports(t *testing.T) {
	x, _, report := plantedStore(t, 10)
	y := smallStore(t)
	r := run(t, "quarantine", y.Dir(), "--from", report, "--yes")
	require.Contains(t, r.stderr, "not in "+y.Dir())
	require.Contains(t, r.stdout, "moved 0")
	secret := filepath.Join(filepath.Dir(x.Dir()), "secret")
	write(t, secret, []byte("x"))
	for _, file := range []string{"../secret", "a/../../secret", "/etc/passwd", "", ".", "a//b"} {
		write(t, report, []byte(`{"type":"finding","kind":"bad_crc","root":`+strconv.Quote(x.Dir())+`,"file":`+strconv.Quote(file)+"}\n"))
		r = run(t, "quarantine", x.Dir(), "--from", report, "--yes")
		require.Contains(t, r.stdout, "moved 0", file)
	}
	require.FileExists(t, secret)
	write(t, report, []byte("no report\n"))
	r = run(t, "quarantine", x.Dir(), "--from", report, "--yes")
	require.Equal(t, exitTrouble, r.code)
	require.Contains(t, r.stderr, "line 1")
}

// Killed at any moment, every file is in exactly one of the two places and comes back whole.
func TestQuarantineKilled(t *testing.T) {
	x, _, report := plantedStore(t, 400)
	before := tree(t, x.Dir())
	partly := 0
	for round := range 12 {
		cmd := exec.Command(binary(t), "quarantine", x.Dir(), "--from", report, "--yes")
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(5+15*round) * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		now := map[string]string{}
		moved := 0
		for path, content := range tree(t, x.Dir()) {
			inner := path
			if rest, ok := strings.CutPrefix(path, ".chunkctl-quarantine/"); ok {
				_, name, isFile := strings.Cut(rest, "/files/")
				if !isFile {
					continue // a manifest
				}
				inner = name
				moved++
			}
			require.NotContains(t, now, inner, "in both places")
			now[inner] = content
		}
		require.Equal(t, before, now)
		if moved > 0 && moved < 200 {
			partly++
		}
		r := run(t, "quarantine", x.Dir(), "--restore", "--yes", "--allow-empty")
		require.Equal(t, exitSound, r.code, r.stdout+r.stderr)
		require.NoError(t, os.RemoveAll(filepath.Join(x.Dir(), ".chunkctl-quarantine")))
		require.Equal(t, before, tree(t, x.Dir()))
	}
	require.NotZero(t, partly, "it was never killed half-way: the test proves nothing")
}

// ---- doctor, bench ----

func TestDoctor(t *testing.T) {
	x := smallStore(t)
	r := run(t, "doctor", "--json", x.Dir())
	require.Equal(t, exitFindings, r.code, r.stderr) // tiny chunks, at the least
	checks := map[string]object{}
	for _, o := range objects(t, r.stdout) {
		checks[o.str("name")] = o
	}
	for _, name := range []string{"file system", "space", "kernel", "io_uring", "open files", "layout"} {
		require.NotEmpty(t, checks[name].str("text"), name)
	}
	require.Equal(t, "change", checks["chunk sizes"].str("verdict"))
	require.NotEmpty(t, checks["chunk sizes"].str("advice"))
	require.Equal(t, "good", checks["layout"].str("verdict"))
	flat := generate(t, chunkgen.Options{Count: 5, Size: 2000, Schema: "v11"})
	r = run(t, "doctor", flat.Dir())
	require.Contains(t, r.stdout, "5 chunks lying flat")
	require.Equal(t, exitTrouble, run(t, "doctor", t.TempDir()).code)
}

func TestBench(t *testing.T) {
	x := smallStore(t)
	r := run(t, "bench", "--json", "--rounds", "2", "--batch", "7", x.Dir())
	require.Equal(t, exitSound, r.code, r.stderr)
	var seen []string
	for _, o := range objects(t, r.stdout) {
		seen = append(seen, o.str("backend")+" "+o.str("cache"))
		require.Equal(t, []int64{40, x.Bytes()}, []int64{o.num("files"), o.num("bytes")})
	}
	require.Subset(t, seen, []string{"threads cold", "threads warm"})
	flip(700)(t, x.Path(x.Refs[0]))
	require.Equal(t, exitFindings, run(t, "bench", "--rounds", "1", x.Dir()).code)
	require.Equal(t, exitTrouble, run(t, "bench", t.TempDir()).code)
}

// ---- Command lines, pipes and terminals ----

var commands = []string{"verify", "ls", "cat", "info", "salvage", "quarantine", "bench", "doctor"}

func TestUsage(t *testing.T) {
	for _, c := range commands {
		r := run(t, c, "--help")
		require.Equal(t, exitSound, r.code, c)
		require.Contains(t, r.stdout, "example", c)
		require.Contains(t, r.stdout, "exit code", c)
		for _, args := range [][]string{{c}, {c, "--no-such-option"}, {c, "/nonexistent/store"}} {
			r = run(t, args...)
			require.Equal(t, exitTrouble, r.code, "%v", args)
			require.Contains(t, r.stderr, "chunkctl "+c, "%v", args)
			require.Empty(t, strings.TrimSuffix(r.stdout, "0"), "%v", args)
		}
	}
	require.Equal(t, exitTrouble, run(t).code)
	require.Equal(t, exitTrouble, run(t, "frobnicate").code)
	require.Equal(t, exitSound, run(t, "--help").code)
	require.Equal(t, exitSound, run(t, "--version").code)
	for _, args := range [][]string{
		{"verify", "--since", "yesterday", "."}, {"verify", "--jobs", "0", "."}, {"verify", "--jobs", "1x", "."},
		{"verify", "--backend", "x", "."}, {"verify", "--quick", "--deep", "."}, {"ls", "--match", "{", "."}, {"ls", "--match", `{a=b}`, "."},
		{"ls", "--match", `{a=~"("}`, "."}, {"ls", "--sort", "x", "."}, {"cat", "--regex", "(", "."},
		{"cat", "--grep", "a", "--regex", "b", "."}, {"cat", "--format", "x", "."}, {"quarantine", "."},
		{"quarantine", ".", "--from", "x", "--restore"}, {"quarantine", ".", "--restore=../x"},
		{"quarantine", ".", "--from", "x", "--kinds", "nonsense"}, {"salvage", "x"},
	} {
		r := run(t, args...)
		require.Equal(t, exitTrouble, r.code, "%v", args)
		require.Contains(t, r.stderr, "--help", "%v", args)
	}
}

func outputCommands(x *chunkgen.Index) [][]string {
	return [][]string{
		{"verify", "--json", x.Dir()}, {"verify", x.Dir()}, {"ls", x.Dir()}, {"ls", "--sort", "size", x.Dir()},
		{"ls", "--totals", "stream", x.Dir()}, {"cat", x.Dir()}, {"info", x.Path(x.Refs[0])},
		{"salvage", x.Path(x.Refs[0]), "-o", "-"}, {"doctor", x.Dir()}, {"bench", "--rounds", "1", x.Dir()},
		{"verify", "--help"},
	}
}

func TestFullDisk(t *testing.T) {
	x := smallStore(t)
	for _, args := range outputCommands(x) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		cmd := exec.Command(binary(t), args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		_ = cmd.Run()
		require.NoError(t, full.Close())
		require.Equal(t, exitTrouble, cmd.ProcessState.ExitCode(), "%v", args)
		require.Contains(t, stderr.String(), "No space left on device", "%v", args)
	}
}

// Files that a command writes itself, where not a byte can be written (a limit of file sizes, as root
// can't fill a disk up): nothing is moved, nothing is half there unsaid.
func TestNoRoomForItsOwnFiles(t *testing.T) {
	x, _, report := plantedStore(t, 10)
	before := tree(t, x.Dir())
	state, lines := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "lines")
	for _, args := range [][]string{
		{"quarantine", x.Dir(), "--from", report, "--yes"},
		{"verify", "--state", state, x.Dir()},
		{"salvage", x.Path(x.Refs[1]), "-o", lines},
	} {
		cmd := exec.Command("sh", slices.Concat([]string{"-c", `ulimit -f 0; exec "$0" "$@"`, binary(t)}, args)...)
		var stderr, stdout bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		require.Equal(t, exitTrouble, cmd.ProcessState.ExitCode(), "%v", args)
		require.Contains(t, stderr.String()+stdout.String(), "File too large", "%v", args)
	}
	for path, content := range tree(t, x.Dir()) {
		if !strings.HasPrefix(path, ".chunkctl-quarantine/") {
			require.True(t, content == before[path], path)
			delete(before, path)
		}
	}
	require.Empty(t, before, "moved without a line in the manifest")
}

// More stores than a shell's own limit of open files has room for; and than the system's has.
func TestManyStores(t *testing.T) {
	x := smallStore(t)
	args := []string{"-c", "", binary(t), "verify", "--settle", "0", "--json"}
	for i := range 100 {
		dir := filepath.Join(t.TempDir(), strconv.Itoa(i))
		require.NoError(t, os.CopyFS(dir, os.DirFS(x.Dir())))
		args = append(args, dir)
	}
	args[1] = `ulimit -Sn 64; exec "$0" "$@"`
	r := runCommand(t, exec.Command("sh", args...), "")
	require.Equal(t, exitSound, r.code, r.stderr)
	args[1] = `ulimit -n 64; exec "$0" "$@"`
	r = runCommand(t, exec.Command("sh", args...), "")
	require.Equal(t, exitTrouble, r.code)
	require.Contains(t, r.stderr, "Too many open files\n")
	require.Contains(t, r.stderr, "raise the limit of open files (ulimit -Hn)")
}

func TestClosedPipe(t *testing.T) {
	x := smallStore(t)
	for _, args := range outputCommands(x) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		cmd := exec.Command(binary(t), args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = w, &stderr
		_ = cmd.Run()
		require.NoError(t, w.Close())
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		require.True(t, status.Signaled() && status.Signal() == syscall.SIGPIPE, "%v: %v", args, cmd.ProcessState)
		require.NotContains(t, stderr.String(), "Broken pipe", "%v", args)
	}
}

// terminal runs a command line on a pseudo-terminal of its own, of that many columns.
func terminal(t *testing.T, columns int, env string, args ...string) string {
	t.Helper()
	var line strings.Builder
	fmt.Fprintf(&line, "stty cols %d; %s ", columns, env)
	for _, a := range slices.Concat([]string{binary(t)}, args) {
		fmt.Fprintf(&line, "'%s' ", a)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "script", "-qec", line.String(), "/dev/null").CombinedOutput()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit, "%s", out)
	}
	return string(out)
}

func TestTerminal(t *testing.T) {
	x := smallStore(t)
	damage(t, x)
	slow := []string{"verify", "--settle", "0", "--rate-limit", "1", "--jobs", "1", x.Dir()}
	out := terminal(t, 100, "TERM=xterm", slow...)
	require.Contains(t, out, "\033[31m", "colours")
	require.Contains(t, out, "ETA", "progress")
	require.Contains(t, out, "\r\033[K")
	for _, part := range strings.Split(out, "\r") {
		if i := strings.Index(part, "[#"); i >= 0 || strings.Contains(part, "ETA") {
			require.LessOrEqual(t, len(strings.TrimPrefix(part, "\033[K")), 99, "%q", part)
		}
	}
	out = terminal(t, 100, "TERM=xterm NO_COLOR=1", slow...)
	require.NotContains(t, out, "\033[3")
	out = terminal(t, 100, "TERM=dumb", slow...)
	require.NotContains(t, out, "\033")
	for _, columns := range []int{1, 2, 9, 10, 11, 40} {
		out = terminal(t, columns, "TERM=xterm", slow...)
		require.Contains(t, out, "20 damaged files", "%d columns", columns)
	}
	out = terminal(t, 80, "TERM=xterm", "ls", x.Dir())
	require.Contains(t, out, "damaged")
}

// Names with escape sequences don't reach a terminal.
func TestHostileNames(t *testing.T) {
	x := smallStore(t)
	evil := "\x1b]0;owned\x07\xff\u009b31m"
	write(t, filepath.Join(x.Dir(), x.Refs[0].Tenant, "abc", evil), []byte("x"))
	for _, args := range [][]string{{"verify", "--settle", "0", x.Dir()}, {"info", filepath.Join(x.Dir(), x.Refs[0].Tenant, "abc", evil)}} {
		r := run(t, args...)
		require.Equal(t, exitFindings, r.code)
		require.NotContains(t, r.stdout, "\x1b")
		require.NotContains(t, r.stdout, "\xff")
		require.NotContains(t, r.stdout, "\u009b")
	}
	r := verify(t, x.Dir())
	require.Equal(t, []string{"name"}, r.kinds())
	require.NotEmpty(t, r.findings[0].str("path_base64"))
}

// ^C: a summary, exit code 2, and soon.
func TestInterrupt(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 500, Size: 4000})
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := exec.Command(binary(t), "verify", "--json", "--rate-limit", "1", x.Dir())
		var out bytes.Buffer
		cmd.Stdout = &out
		require.NoError(t, cmd.Start())
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, cmd.Process.Signal(sig))
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Fatal("it does not stop")
		}
		require.Equal(t, exitTrouble, cmd.ProcessState.ExitCode())
		all := objects(t, out.String())
		require.False(t, all[len(all)-1]["complete"].(bool))
	}
}

// One of something is not "1 files", and a message says what is wrong, not where to look for it.
func TestMessagesOfOne(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 1, Size: 2000})
	path, file := x.Path(x.Refs[0]), read(t, x.Path(x.Refs[0]))
	one := func(want ...string) {
		t.Helper()
		text := run(t, "verify", "--settle", "0", x.Dir()).stdout
		for _, w := range append(want, "checked 1 chunk, ") {
			require.Contains(t, text, w)
		}
		require.NotRegexp(t, `\b1 (\w+ )?(bytes|files|chunks|lines|blocks|are)\b`, text)
	}
	one("1 other file (left alone)") // the generator's index
	write(t, path, file[:len(file)-1])
	one("1 is missing", "1 damaged file: ")
	write(t, path, file[:1])
	one("over 1 byte,", "ends after 1 byte ")
	write(t, path, file)
	metas := object(objects(t, run(t, "info", "--json", path).stdout)[0]["metas"].(map[string]any))
	flip(int(metas.num("offset")))(t, path)
	one(fmt.Sprintf("the checksum of the %d bytes of metas is wrong (at byte %d)", metas.num("bytes"), metas.num("offset")))

	r := run(t, "salvage", path, "-o", "-")
	require.Contains(t, r.stderr, "lines of 1 block\n")
	r = run(t, "frobnicate")
	require.Contains(t, r.stderr, "chunkctl: see chunkctl --help\n")
	require.Contains(t, run(t, "info").stderr, "chunkctl info: see chunkctl info --help\n")
}
