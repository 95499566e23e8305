// SPDX-License-Identifier: Apache-2.0

// Package chunkctltest runs build/chunkctl, or the binary that $CHUNKCTL names (one built with
// sanitizers, say), on stores that Loki's own encoder wrote. It is a folder of its own because Go
// takes no C files beside Go files without cgo.
package chunkctltest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/util"

	"github.com/chunkring/chunkring/go/chunkgen"
)

const (
	exitSound    = 0
	exitFindings = 1
	exitTrouble  = 2
)

func TestMain(m *testing.M) {
	syscall.Umask(0o022) // what a test writes as root is read by runUnprivileged
	os.Exit(m.Run())
}

// binary is the program under test. A missing one fails: a skip is not a pass.
func binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("CHUNKCTL")
	if path == "" {
		path = "../../../build/chunkctl"
	}
	abs, err := filepath.Abs(path)
	require.NoError(t, err)
	_, err = os.Stat(abs)
	require.NoError(t, err, "run make chunkctl first")
	return abs
}

type result struct {
	stdout, stderr string
	code           int // -1: ended by a signal
}

func run(t testing.TB, args ...string) result { return runInput(t, "", args...) }

func runInput(t testing.TB, input string, args ...string) result {
	t.Helper()
	return runCommand(t, exec.Command(binary(t), args...), input)
}

// runUnprivileged runs it as a user whom permissions stop: root's tests run it as nobody.
func runUnprivileged(t testing.TB, args ...string) result {
	t.Helper()
	if os.Geteuid() != 0 {
		return run(t, args...)
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // all temporary folders of this test
	copied := filepath.Join(dir, "chunkctl")
	require.NoError(t, os.WriteFile(copied, read(t, binary(t)), 0o755))
	cmd := exec.Command(copied, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return runCommand(t, cmd, "")
}

func runCommand(t testing.TB, cmd *exec.Cmd, input string) result {
	t.Helper()
	args := cmd.Args[1:]
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	r := result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	require.NotContains(t, r.stderr, "runtime error:", "%v", args) // UBSan
	require.NotContains(t, r.stderr, "Sanitizer", "%v", args)
	return r
}

// runCounted also says how many bytes it read by system calls; not by io_uring, whose reads the kernel does not count.
// A shell waits for it and has its count then, which who is not root can't ask of a process that has ended.
func runCounted(t testing.TB, args ...string) (result, int64) {
	t.Helper()
	counts := filepath.Join(t.TempDir(), "io")
	const script = `counts=$1; shift
read -r before </proc/$$/io; "$@"; status=$?; read -r after </proc/$$/io
echo "$before $after" >"$counts"; exit $status`
	r := runCommand(t, exec.Command("sh", append([]string{"-c", script, "sh", counts, binary(t)}, args...)...), "")
	var before, after int64
	io := string(read(t, counts))
	_, err := fmt.Sscanf(io, "rchar: %d rchar: %d", &before, &after)
	require.NoError(t, err, io)
	require.Greater(t, after, before)
	return r, after - before
}

// object is one line of --json output.
type object map[string]any

func (o object) str(name string) string {
	s, _ := o[name].(string)
	return s
}

func (o object) num(name string) int64 {
	n, err := o[name].(json.Number).Int64()
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, o[name]))
	}
	return n
}

func objects(t testing.TB, lines string) []object {
	t.Helper()
	var all []object
	for _, line := range strings.SplitAfter(lines, "\n") {
		if line == "" {
			continue
		}
		require.True(t, strings.HasSuffix(line, "\n"), "a torn line: %q", line)
		var o object
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		require.NoError(t, d.Decode(&o), line)
		all = append(all, o)
	}
	return all
}

// report is what verify --json says.
type report struct {
	findings   []object
	unreadable []object
	summary    object
	code       int
}

func verify(t testing.TB, args ...string) report {
	t.Helper()
	// What a test has just written is to be judged at once.
	return parseReport(t, run(t, append([]string{"verify", "--json", "--settle", "0"}, args...)...))
}

func parseReport(t testing.TB, r result) report {
	t.Helper()
	all := objects(t, r.stdout)
	require.NotEmpty(t, all, r.stderr)
	last := all[len(all)-1]
	require.Equal(t, "summary", last.str("type"), "%s", r.stderr)
	rep := report{summary: last, code: r.code}
	for _, o := range all[:len(all)-1] {
		if o.str("type") == "unreadable" {
			rep.unreadable = append(rep.unreadable, o)
			continue
		}
		require.Equal(t, "finding", o.str("type"))
		rep.findings = append(rep.findings, o)
	}
	return rep
}

// kinds are the distinct findings of a report, sorted.
func (r report) kinds() []string {
	seen := map[string]bool{}
	var all []string
	for _, f := range r.findings {
		if k := f.str("kind"); !seen[k] {
			seen[k] = true
			all = append(all, k)
		}
	}
	sort.Strings(all)
	return all
}

// ---- Stores ----

const testdata = "../../../testdata"

// fileName is where Loki looks for a chunk.
func fileName(r chunkgen.Ref) string {
	hex := func(n int64) string { return strconv.FormatInt(n, 16) }
	tail := hex(r.From) + ":" + hex(r.Through) + ":" + strconv.FormatUint(uint64(r.Checksum), 16)
	fp := strconv.FormatUint(uint64(r.Fingerprint), 16)
	version, err := strconv.Atoi(strings.TrimPrefix(r.Schema, "v"))
	if err != nil {
		panic(err)
	}
	if version < 12 {
		return base64.StdEncoding.EncodeToString([]byte(r.Tenant + "/" + fp + ":" + tail))
	}
	return r.Tenant + "/" + fp + "/" + base64.StdEncoding.EncodeToString([]byte(tail))
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, content, 0o644))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// corpus is testdata/good or bad.
func corpus(t testing.TB, name string) []chunkgen.Ref {
	t.Helper()
	var index struct {
		Chunks, Files []chunkgen.Ref
	}
	require.NoError(t, json.Unmarshal(read(t, filepath.Join(testdata, name, "index.json")), &index))
	refs := append(index.Chunks, index.Files...)
	require.NotEmpty(t, refs)
	return refs
}

// badRef is a file of testdata/bad, and what Loki does with it.
type badRef struct {
	chunkgen.Ref
	Must  string
	Stock struct {
		Decode, Iterate string
		Entries         int
	}
}

func badCorpus(t testing.TB) []badRef {
	t.Helper()
	var index struct{ Files []badRef }
	require.NoError(t, json.Unmarshal(read(t, filepath.Join(testdata, "bad", "index.json")), &index))
	require.NotEmpty(t, index.Files)
	return index.Files
}

func corpusFile(t testing.TB, name string, r chunkgen.Ref) []byte {
	return read(t, filepath.Join(testdata, name, r.Path))
}

// generate makes a store; opts says how.
func generate(t testing.TB, opts chunkgen.Options) *chunkgen.Index {
	t.Helper()
	index, err := chunkgen.Write(context.Background(), t.TempDir(), opts, nil)
	require.NoError(t, err)
	return index
}

// smallStore has 40 chunks of two tenants, each with several blocks.
func smallStore(t testing.TB) *chunkgen.Index {
	return generate(t, chunkgen.Options{Count: 40, Size: 20000, Tenants: 2, Streams: 3, Block: 8192})
}

// tree is every file below dir but the generator's own index, with its content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "index.json" {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		all[rel] = string(read(t, path))
		return nil
	}))
	return all
}

// build makes a chunk of entries of our own with Loki's encoder.
func build(t testing.TB, format byte, entries []logproto.Entry) (chunkgen.Ref, []byte) {
	t.Helper()
	mc := chunkenc.NewMemChunk(format, compression.Snappy, chunkenc.ChunkHeadFormatFor(format), 4096, 0)
	for _, e := range entries {
		_, err := mc.Append(&e)
		require.NoError(t, err)
	}
	require.NoError(t, mc.Close())
	from, through := util.RoundToMilliseconds(mc.Bounds())
	metric := labels.FromStrings("__name__", "logs", "app", "test")
	c := chunk.NewChunk("fake", 0xabc, metric, chunkenc.NewFacade(mc, 4096, 0), from, through)
	require.NoError(t, c.Encode())
	file, err := c.Encoded()
	require.NoError(t, err)
	ref := chunkgen.Ref{Path: "built", Tenant: "fake", Fingerprint: 0xabc, From: int64(from), Through: int64(through),
		Schema: "v13", Format: int(format), Entries: len(entries)}
	require.NoError(t, ref.Checksum.UnmarshalText(strconv.AppendUint(nil, uint64(c.Checksum), 16)))
	return ref, file
}

// ---- What Loki itself reads ----

type entry struct {
	ts       int64
	line     string
	metadata string // name=value, by name
}

func metadataText(pairs map[string]string) string {
	var all []string
	for k, v := range pairs {
		all = append(all, k+"="+v)
	}
	sort.Strings(all)
	return strings.Join(all, "\x00")
}

func lokiEntries(t testing.TB, r chunkgen.Ref, file []byte) []entry {
	t.Helper()
	c := r.Chunk()
	require.NoError(t, c.Decode(chunk.NewDecodeContext(), bytes.Clone(file)), r.Path)
	var all []entry
	require.NoError(t, chunkgen.Lines(c, func(e logproto.Entry) {
		pairs := map[string]string{}
		for _, l := range e.StructuredMetadata {
			pairs[l.Name] = l.Value
		}
		all = append(all, entry{e.Timestamp.UnixNano(), e.Line, metadataText(pairs)})
	}), r.Path)
	return all
}

// catEntries reads the lines of cat --format json or salvage --format json.
func catEntries(t testing.TB, out string) []entry {
	t.Helper()
	exact := func(o object, name string) string {
		if s, ok := o[name+"_base64"].(string); ok {
			b, err := base64.StdEncoding.DecodeString(s)
			require.NoError(t, err)
			return string(b)
		}
		return o.str(name)
	}
	var all []entry
	for _, o := range objects(t, out) {
		ts, err := strconv.ParseInt(o.str("ts"), 10, 64)
		require.NoError(t, err)
		pairs := map[string]string{}
		meta := object(o["metadata"].(map[string]any))
		for k := range meta {
			if !strings.HasSuffix(k, "_base64") {
				pairs[k] = exact(meta, k)
			}
		}
		all = append(all, entry{ts, exact(o, "line"), metadataText(pairs)})
	}
	return all
}
