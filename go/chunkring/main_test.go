// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/go-kit/log"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/local"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
	"github.com/chunkring/chunkring/go/internal/core"
)

// The tests of this package, by what they are about:
//
//	calls_*_test.go       one crossing into C a batch
//	differential_test.go  against Loki's own client on the same store
//	keys_test.go          file names
//	bad_test.go           testdata/bad, hostile directories, truncations, flipped bits
//	errors_test.go        what errors say, log lines
//	failurelog_test.go    how many lines about failed chunks
//	metrics_test.go       every metric's values; metrics_internal_test.go: what needs a hand inside
//	trace_test.go         spans
//	context_test.go       cancel and deadline
//	child_test.go         limits, seccomp, signals: in processes of their own
//	life_test.go          New, Stop, leaks, read-only stores
//	store_test.go         clients that share a store, and those that must not
//	put_test.go           PutChunks, DeleteChunk
//	sweep_test.go         leftovers of interrupted writes
//	pooled_test.go        GetChunksPooled
//	partial_test.go       chunks of which only the ends are read, in a patched Loki; fileblocks_test.go: what needs a hand inside
//	slowfs_test.go        file systems that are slow or lie, mounted by FUSE
//	bench_test.go         benchmarks against stock

const (
	goodDir = "../../testdata/good"
	badDir  = "../../testdata/bad"
)

// ---- back-ends ----

var uringRefusal = sync.OnceValue(func() string {
	if core.Built != "cgo" {
		return "built without cgo: there is only the threads back-end"
	}
	dir, err := os.MkdirTemp("", "chunkring-probe-")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	r, err := core.Open(dir, core.Options{Backend: "uring"})
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	if errno, step := r.Fallback(); errno != 0 {
		return fmt.Sprintf("no io_uring here: %s: %s", step, errno.Error())
	}
	return ""
})

// eachBackend runs test once on every back-end there is; one that is missing shows as skipped.
func eachBackend(t *testing.T, test func(t *testing.T, backend string)) {
	t.Helper()
	for _, backend := range []string{chunkring.BackendURing, chunkring.BackendThreads} {
		t.Run(backend, func(t *testing.T) {
			if why := uringRefusal(); backend == chunkring.BackendURing && why != "" {
				t.Skip(why)
			}
			test(t, backend)
		})
	}
}

// ---- clients ----

func ring(t testing.TB, dir, backend string, schema config.SchemaConfig) *chunkring.Client {
	t.Helper()
	return ringWith(t, chunkring.Config{Directory: dir, Backend: backend}, schema, nil)
}

func ringWith(t testing.TB, cfg chunkring.Config, schema config.SchemaConfig, logger log.Logger) *chunkring.Client {
	t.Helper()
	c, err := chunkring.New(cfg, schema, logger, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	if cfg.Backend != "" && cfg.Backend != chunkring.BackendAuto {
		require.Equal(t, cfg.Backend, c.Backend())
	}
	return c
}

func stock(t testing.TB, dir string, schema config.SchemaConfig) client.Client {
	t.Helper()
	fsc, err := local.NewFSObjectClient(local.FSConfig{Directory: dir})
	require.NoError(t, err)
	c := client.NewClient(fsc, client.FSEncoder, schema)
	t.Cleanup(c.Stop)
	return c
}

// ---- stores ----

var v13 = chunkgen.Schema("v13")

// place writes a chunk file under its key's name.
func place(t testing.TB, dir string, schema config.SchemaConfig, c chunk.Chunk, b []byte) string {
	t.Helper()
	name := filePath(dir, schema, c)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, b, 0o644))
	return name
}

func filePath(dir string, schema config.SchemaConfig, c chunk.Chunk) string {
	return filepath.Join(dir, filepath.FromSlash(client.FSEncoder(schema, c)))
}

type sample struct {
	name  string
	ref   chunk.Chunk // as Loki's index gives it
	bytes []byte
}

// goodSamples loads testdata/good.
var goodSamples = sync.OnceValue(func() []sample {
	x, err := chunkgen.LoadIndex(goodDir)
	if err != nil {
		panic(err)
	}
	var all []sample
	seen := map[logproto.ChunkRef]bool{} // some are the same file under two names
	for _, r := range x.Refs {
		if seen[r.Chunk().ChunkRef] {
			continue
		}
		seen[r.Chunk().ChunkRef] = true
		b, err := os.ReadFile(x.Path(r))
		if err != nil {
			panic(err)
		}
		all = append(all, sample{r.Path, r.Chunk(), b})
	}
	return all
})

// goodStore fills a new store with testdata/good and returns the refs.
func goodStore(t testing.TB, schema config.SchemaConfig) (dir string, chunks []chunk.Chunk) {
	t.Helper()
	return storeOf(t, schema, func(string) bool { return true })
}

// lightStore is goodStore without zstd and lz4: with -race, sync.Pool drops their large decoders all
// the time, and reading the lines takes seconds.
func lightStore(t testing.TB, schema config.SchemaConfig) (dir string, chunks []chunk.Chunk) {
	t.Helper()
	return storeOf(t, schema, func(name string) bool {
		return !strings.Contains(name, "zstd") && !strings.Contains(name, "lz4")
	})
}

func storeOf(t testing.TB, schema config.SchemaConfig, want func(name string) bool) (dir string, chunks []chunk.Chunk) {
	t.Helper()
	dir = t.TempDir()
	for _, s := range goodSamples() {
		if !want(s.name) {
			continue
		}
		place(t, dir, schema, s.ref, s.bytes)
		chunks = append(chunks, s.ref)
	}
	return dir, chunks
}

// forTenant makes a copy of a good chunk that belongs to another tenant: another key, other bytes.
func forTenant(t testing.TB, s sample, tenant string) sample {
	t.Helper()
	p, err := chunkgen.Split(s.bytes)
	require.NoError(t, err)
	meta, err := p.JSON()
	require.NoError(t, err)
	quoted, err := json.Marshal(tenant)
	require.NoError(t, err)
	require.NoError(t, p.SetJSON(bytes.Replace(meta, []byte(`"userID":"fake"`), append([]byte(`"userID":`), quoted...), 1)))
	b := p.Join()
	ref := s.ref
	ref.UserID, ref.Checksum = tenant, chunkgen.CRC(b)
	return sample{s.name, ref, b}
}

func sampleNamed(t testing.TB, name string) sample {
	t.Helper()
	for _, s := range goodSamples() {
		if s.name == name+".chunk" {
			return s
		}
	}
	t.Fatalf("testdata/good has no %s", name)
	return sample{}
}

// smallStore makes a store of n chunks, each of its own tenant, from a few good samples.
func smallStore(t testing.TB, schema config.SchemaConfig, n int) (dir string, chunks []chunk.Chunk) {
	t.Helper()
	dir = t.TempDir()
	// None of those that lightStore leaves out.
	bases := []sample{sampleNamed(t, "v4-snappy"), sampleNamed(t, "v3-gzip"), sampleNamed(t, "v4-none"), sampleNamed(t, "v2-flate")}
	for i := range n {
		s := forTenant(t, bases[i%len(bases)], fmt.Sprintf("t%d", i))
		place(t, dir, schema, s.ref, s.bytes)
		chunks = append(chunks, s.ref)
	}
	return dir, chunks
}

// ---- comparing chunks ----

// view is all that a user of a chunk can see, copied.
type view struct {
	Ref     logproto.ChunkRef
	Enc     chunk.Encoding
	Labels  string
	Bytes   string
	Entries []string
	ReadErr string
	Whole   bool // with the entries
}

func viewOf(t testing.TB, c chunk.Chunk) view {
	t.Helper()
	b, err := c.Encoded()
	require.NoError(t, err)
	v := view{Ref: c.ChunkRef, Enc: c.Encoding, Labels: c.Metric.String(), Bytes: string(b), Whole: true}
	err = chunkgen.Lines(c, func(e logproto.Entry) {
		v.Entries = append(v.Entries, fmt.Sprintf("%d %q %v %v", e.Timestamp.UnixNano(), e.Line, e.StructuredMetadata, e.Parsed))
	})
	if err != nil {
		v.ReadErr = err.Error()
	}
	return v
}

func views(t testing.TB, chunks []chunk.Chunk) []view {
	t.Helper()
	all := make([]view, len(chunks))
	for i := range chunks {
		all[i] = viewOf(t, chunks[i])
	}
	return all
}

// bytesOf is a view without what takes long: for the tests with many chunks.
func bytesOf(t testing.TB, c chunk.Chunk) view {
	t.Helper()
	b, err := c.Encoded()
	require.NoError(t, err)
	return view{Ref: c.ChunkRef, Enc: c.Encoding, Labels: c.Metric.String(), Bytes: string(b)}
}

// byKey indexes stock's unordered answer. Of many chunks only some are viewed whole.
func byKey(t testing.TB, chunks []chunk.Chunk) map[logproto.ChunkRef]view {
	t.Helper()
	m := map[logproto.ChunkRef]view{}
	for i := range chunks {
		if _, ok := m[chunks[i].ChunkRef]; ok {
			continue
		}
		if len(chunks) > 100 && chunks[i].Checksum%37 != 0 {
			m[chunks[i].ChunkRef] = bytesOf(t, chunks[i])
			continue
		}
		m[chunks[i].ChunkRef] = viewOf(t, chunks[i])
	}
	return m
}

// requireAnswer compares an answer with the wanted views of exactly the requested chunks, in order.
func requireAnswer(t testing.TB, want map[logproto.ChunkRef]view, requested, got []chunk.Chunk) {
	t.Helper()
	require.Len(t, got, len(requested))
	for i := range got {
		w, ok := want[requested[i].ChunkRef]
		if !ok {
			t.Fatalf("nothing to compare %v with", requested[i].ChunkRef)
		}
		if d := difference(w, likeView(t, w, got[i])); d != "" {
			t.Fatalf("chunk %d, %v: %s", i, requested[i].ChunkRef, d)
		}
	}
}

// likeView views as much of c as there is of want.
func likeView(t testing.TB, want view, c chunk.Chunk) view {
	t.Helper()
	if want.Whole {
		return viewOf(t, c)
	}
	return bytesOf(t, c)
}

func equalView(a, b view) bool { return difference(a, b) == "" }

// difference says in what a chunk is not the wanted one, "" for nothing.
func difference(want, got view) string {
	switch {
	case want.Ref != got.Ref:
		return fmt.Sprintf("reference %v, wanted %v", got.Ref, want.Ref)
	case want.Enc != got.Enc:
		return fmt.Sprintf("encoding %v, wanted %v", got.Enc, want.Enc)
	case want.Labels != got.Labels:
		return fmt.Sprintf("labels %s, wanted %s", got.Labels, want.Labels)
	case want.Bytes != got.Bytes:
		return fmt.Sprintf("other bytes (%d, wanted %d)", len(got.Bytes), len(want.Bytes))
	case want.ReadErr != got.ReadErr:
		return fmt.Sprintf("reading lines: %q, wanted %q", got.ReadErr, want.ReadErr)
	case len(want.Entries) != len(got.Entries):
		return fmt.Sprintf("%d entries, wanted %d", len(got.Entries), len(want.Entries))
	}
	for i := range want.Entries {
		if want.Entries[i] != got.Entries[i] {
			return fmt.Sprintf("entry %d is %q, wanted %q", i, got.Entries[i], want.Entries[i])
		}
	}
	return ""
}

// encoded is a chunk's own buffer, not a copy.
func encoded(t testing.TB, c *chunk.Chunk) []byte {
	t.Helper()
	b, err := c.Encoded()
	require.NoError(t, err)
	return b
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// ---- leaks ----

func openFDs(t testing.TB) int { return len(listProc(t, "/proc/self/fd")) }
func threads(t testing.TB) int { return len(listProc(t, "/proc/self/task")) }

func listProc(t testing.TB, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	return entries
}

// noLeaks checks at the end of the test, after all clients made later have stopped, that
// there are no more descriptors and goroutines than now. Fewer is no leak: what an earlier test
// left to a goroutine or to the runtime may be closed meanwhile.
func noLeaks(t testing.TB) {
	t.Helper()
	_ = openFDs(t) // the runtime's own: epoll and its eventfd
	fds, goroutines := openFDs(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		comesTrue(t, func() bool { return openFDs(t) <= fds }, func() string {
			return fmt.Sprintf("%d descriptors, %d before", openFDs(t), fds)
		})
		comesTrue(t, func() bool { return runtime.NumGoroutine() <= goroutines }, func() string {
			stacks := make([]byte, 1<<16)
			return fmt.Sprintf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), goroutines, stacks[:runtime.Stack(stacks, true)])
		})
	})
}

// comesTrue waits for what other goroutines are about to do. (require.Eventually runs goroutines of
// its own, which would be counted.)
func comesTrue(t testing.TB, condition func() bool, otherwise func() string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(otherwise())
		}
	}
}

// ---- logs ----

// logLines is a logger that keeps its lines.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Log(kv ...any) error {
	var b strings.Builder
	for i := 0; i+1 < len(kv); i += 2 {
		fmt.Fprintf(&b, "%v=%v ", kv[i], kv[i+1])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, b.String())
	return nil
}

func (l *logLines) with(s string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, s) {
			found = append(found, line)
		}
	}
	return found
}

// ---- child processes ----

const childEnv = "CHUNKRING_TEST_CHILD"

// inChild runs the calling test once more, alone in a process of its own, and returns true there.
// In the parent it returns false when the child is done; a failure or skip of the child is the
// parent's. Only for tests without subtests around the call.
func inChild(t *testing.T, prepare func(cmd *exec.Cmd)) bool {
	t.Helper()
	if os.Getenv(childEnv) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.timeout=50s")
	// A child of a race build would sleep a second before it exits.
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name(), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	if prepare != nil {
		prepare(cmd)
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "child: %s", out)
	require.Contains(t, string(out), t.Name(), "the child ran nothing: %s", out)
	if bytes.Contains(out, []byte("--- SKIP: "+t.Name()+" (")) {
		t.Skipf("in the child: %s", out)
	}
	if testing.Verbose() {
		t.Logf("child: %s", out)
	}
	return false
}
