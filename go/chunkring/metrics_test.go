// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/logql/log"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
	"github.com/chunkring/chunkring/go/internal/core"
)

// samples are the values of a registry: counters and gauges as in "name{label}" or "name{label,label}"
// (the labels' values), without those that are 0 and those of blocks, which are the process's.
func samples(t testing.TB, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	eachSample(t, reg, func(name string, m *dto.Metric) {
		if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
			all[name] = v
		}
	})
	return all
}

// histograms are those of a registry by name as in samples.
func histograms(t testing.TB, reg prometheus.Gatherer) map[string]*dto.Histogram {
	t.Helper()
	all := map[string]*dto.Histogram{}
	eachSample(t, reg, func(name string, m *dto.Metric) {
		if m.Histogram != nil {
			all[name] = m.Histogram
		}
	})
	return all
}

func eachSample(t testing.TB, reg prometheus.Gatherer, do func(name string, m *dto.Metric)) {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if aboutBlocks.MatchString(f.GetName()) {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label { // sorted by name
				labels = append(labels, l.GetValue())
			}
			do(strings.TrimSuffix(fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(labels, ",")), "{}"), m)
		}
	}
}

var aboutBlocks = regexp.MustCompile(`^chunkring_(block_|blocks_(decompressed|iterated|left)_total|chunks_verified_total)`)

// only are the samples of one metric.
func only(all map[string]float64, metric string) map[string]float64 {
	some := map[string]float64{}
	for name, v := range all {
		if strings.HasPrefix(name, metric+"{") || name == metric {
			some[name] = v
		}
	}
	return some
}

func ringAndMetrics(t testing.TB, dir, backend string, logger *logLines) (*chunkring.Client, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	c, err := chunkring.New(chunkring.Config{Directory: dir, Backend: backend}, v13, logger, reg)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c, reg
}

// Prometheus sees no increase from nothing to 1, so an alert needs the 0 before it.
func TestMetricsStartAtZero(t *testing.T) {
	_, reg := ringAndMetrics(t, t.TempDir(), "", &logLines{})
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)

	var series []string
	eachSample(t, reg, func(name string, m *dto.Metric) {
		series = append(series, name)
		require.Zero(t, m.GetCounter().GetValue(), name)
		require.Zero(t, m.GetHistogram().GetSampleCount(), name)
	})
	for metric, n := range map[string]int{
		"chunkring_batches_total": 3, "chunkring_chunks_total": 3 * 6, "chunkring_bytes_total": 2,
		"chunkring_stage_duration_seconds": 7, "chunkring_corrupt_chunks_total": 6 + 17, "chunkring_in_flight_chunks": 1,
		"chunkring_blocks_dropped_total": 1, "chunkring_decode_panics_total": 1, "chunkring_log_lines_dropped_total": 1,
		"chunkring_backend_info": 1, "chunkring_dir_fsync_unsupported_total": 1,
		"chunkring_chunks_partly_read_total": 1, "chunkring_bytes_not_read_total": 1, "chunkring_blocks_read_total": 1,
		"chunkring_block_bytes_read_total": 1, "chunkring_block_read_duration_seconds": 1, "chunkring_blocks_unreadable_total": 6,
	} {
		got, err := testutil.GatherAndCount(reg, metric)
		require.NoError(t, err)
		require.Equal(t, n, got, metric)
	}
	for _, name := range []string{"chunkring_chunks_total{put,error}", "chunkring_corrupt_chunks_total{checksum}",
		"chunkring_corrupt_chunks_total{metas_range}", "chunkring_stage_duration_seconds{delete}"} {
		require.Contains(t, series, name)
	}
}

// blockPathPatched tells whether Loki's pools of readers can be replaced.
func blockPathPatched() bool {
	_, ok := any(compression.GZIP).(interface {
		SetReaderPool(p compression.ReaderPool)
	})
	return ok
}

// blockPathInUse is the level that a registry's metrics name.
func blockPathInUse(t *testing.T, reg prometheus.Gatherer) string {
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "chunkring_block_path_info" {
			require.Len(t, f.Metric, 1)
			require.Equal(t, 1.0, f.Metric[0].GetGauge().GetValue())
			require.Equal(t, "level", f.Metric[0].Label[0].GetName())
			return f.Metric[0].Label[0].GetValue()
		}
	}
	require.Fail(t, "no chunkring_block_path_info")
	return ""
}

// What is in use and what it did is in Loki's registry; in an unmodified Loki nothing is.
func TestBlockMetrics(t *testing.T) {
	value := func(reg prometheus.Gatherer, metric string) (v float64) {
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			for _, m := range f.Metric {
				for _, l := range m.Label {
					if f.GetName() == metric && l.GetValue() == "gzip" {
						v += m.GetCounter().GetValue()
					}
				}
			}
		}
		return v
	}
	dir := t.TempDir()
	s := sampleNamed(t, "v4-gzip")
	place(t, dir, v13, s.ref, s.bytes)
	for path, want := range map[string]struct{ decompress, inPlace bool }{
		chunkring.BlockPathOff:        {},
		chunkring.BlockPathDecompress: {decompress: true},
		chunkring.BlockPathInPlace:    {decompress: true, inPlace: true},
		chunkring.BlockPathFilter:     {decompress: true, inPlace: true},
		"":                            {decompress: true, inPlace: true},
	} {
		reg := prometheus.NewRegistry()
		c, err := chunkring.New(chunkring.Config{Directory: dir, BlockPath: path}, v13, nil, reg)
		require.NoError(t, err)
		inUse := chunkring.BlockPathOff
		if blockPathPatched() {
			inUse = cmp.Or(path, chunkring.BlockPathFilter)
		}
		require.Equal(t, inUse, blockPathInUse(t, reg), path)

		decoded, lines := value(reg, "chunkring_blocks_decompressed_total"), value(reg, "chunkring_block_lines_total")
		out, err := c.GetChunks(context.Background(), []chunk.Chunk{s.ref})
		require.NoError(t, err)
		n := linesOf(t, out[0])
		require.Positive(t, n)
		require.Equal(t, want.decompress && blockPathPatched(), value(reg, "chunkring_blocks_decompressed_total") > decoded, path)
		if !want.inPlace || !blockPathPatched() {
			n = 0
		}
		require.EqualValues(t, n, value(reg, "chunkring_block_lines_total")-lines, path)
		c.Stop()
		require.Equal(t, chunkring.BlockPathOff, blockPathInUse(t, reg), "as Loki has it")
	}
}

// linesOf reads all entries of a chunk as a query does.
func linesOf(t *testing.T, chk chunk.Chunk) (n int) {
	it, err := chk.Data.(*chunkenc.Facade).LokiChunk().Iterator(context.Background(), time.Unix(0, 0), time.Unix(1<<33, 0), logproto.FORWARD,
		log.NewNoopPipeline().ForStream(labels.EmptyLabels()))
	require.NoError(t, err)
	for it.Next() {
		n++
	}
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	return n
}

func TestMetrics(t *testing.T) {
	m := newMixed(t)
	eachBackend(t, func(t *testing.T, backend string) {
		lines := &logLines{}
		c, reg := ringAndMetrics(t, m.dir, backend, lines)
		second, err := chunkring.New(chunkring.Config{Directory: m.dir, Backend: backend}, v13, nil, reg) // another logger: not shared
		require.NoError(t, err)
		defer second.Stop()

		read := []chunk.Chunk{m.good, m.good, m.good, m.missing, m.missing, m.damaged, m.malformed, m.dataLength, m.folder, m.wrongTenant, m.droppedBlock}
		out, err := c.GetChunks(context.Background(), read)
		require.Error(t, err)
		require.Len(t, out, 4)
		_, err = second.GetChunks(context.Background(), []chunk.Chunk{m.good})
		require.NoError(t, err)
		batch, err := c.GetChunksPooled(context.Background(), []chunk.Chunk{m.good})
		require.NoError(t, err)
		batch.Release()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = c.GetChunks(ctx, []chunk.Chunk{m.good, m.good})
		require.Error(t, err)

		require.NoError(t, c.PutChunks(context.Background(), []chunk.Chunk{out[0]}))
		require.NoError(t, c.PutChunks(context.Background(), []chunk.Chunk{out[0], out[1]}))
		require.Error(t, c.PutChunks(ctx, []chunk.Chunk{out[0]}))
		require.Error(t, c.DeleteChunk(context.Background(), m.missing.UserID, v13.ExternalKey(m.missing.ChunkRef)))
		require.Error(t, c.DeleteChunk(context.Background(), m.missing.UserID, "garbage"))
		gone := forTenant(t, sampleNamed(t, "v4-one-entry"), "gone")
		place(t, m.dir, v13, gone.ref, gone.bytes)
		require.NoError(t, c.DeleteChunk(context.Background(), "gone", v13.ExternalKey(gone.ref.ChunkRef)))

		bytesRead := 2 * size(t, m.dir, m.good) // second's, and the pooled one
		for _, chk := range read {
			if chk.ChunkRef != m.missing.ChunkRef && chk.ChunkRef != m.folder.ChunkRef {
				bytesRead += size(t, m.dir, chk)
			}
		}
		want := map[string]float64{
			"chunkring_batches_total{read}":                  4,
			"chunkring_batches_total{put}":                   3,
			"chunkring_batches_total{delete}":                3,
			"chunkring_chunks_total{read,ok}":                6,
			"chunkring_chunks_total{read,not_found}":         2,
			"chunkring_chunks_total{read,checksum}":          1,
			"chunkring_chunks_total{read,malformed}":         3,
			"chunkring_chunks_total{read,error}":             1,
			"chunkring_chunks_total{read,canceled}":          2,
			"chunkring_chunks_total{put,ok}":                 3,
			"chunkring_chunks_total{put,canceled}":           1,
			"chunkring_chunks_total{delete,ok}":              1,
			"chunkring_chunks_total{delete,not_found}":       1,
			"chunkring_chunks_total{delete,error}":           1,
			"chunkring_bytes_total{read}":                    bytesRead,
			"chunkring_bytes_total{put}":                     3 * size(t, m.dir, m.good),
			"chunkring_corrupt_chunks_total{checksum}":       1,
			"chunkring_corrupt_chunks_total{codec}":          1,
			"chunkring_corrupt_chunks_total{data_length}":    1,
			"chunkring_corrupt_chunks_total{wrong_metadata}": 1,
			"chunkring_blocks_dropped_total":                 1,
		}
		got := samples(t, reg)
		for name := range only(got, "chunkring_backend_info") { // has a test of its own
			delete(got, name)
		}
		for name := range only(got, "chunkring_blocks_decompressed_total") { // the process's: of other tests, too
			delete(got, name)
		}
		require.Equal(t, want, got)
		dropped := lines.with("damaged blocks")
		require.Len(t, dropped, 1)
		require.Contains(t, dropped[0], v13.ExternalKey(m.droppedBlock.ChunkRef))
		require.Contains(t, dropped[0], filePath(m.dir, v13, m.droppedBlock))
	})
}

func size(t testing.TB, dir string, c chunk.Chunk) float64 {
	t.Helper()
	fi, err := os.Stat(filePath(dir, v13, c))
	require.NoError(t, err)
	return float64(fi.Size())
}

// Each call is observed once in each of its stages, in native histograms as well as in classic ones.
func TestStageSeconds(t *testing.T) {
	dir, chunks := smallStore(t, v13, 100)
	eachBackend(t, func(t *testing.T, backend string) {
		c, reg := ringAndMetrics(t, dir, backend, &logLines{})
		var out []chunk.Chunk
		for _, n := range []int{1, 2, 100} {
			out = must(c.GetChunks(context.Background(), chunks[:n]))
			b, err := c.GetChunksPooled(context.Background(), chunks[:n])
			require.NoError(t, err)
			b.Release()
		}
		require.NoError(t, c.PutChunks(context.Background(), out[:3]))
		require.NoError(t, c.PutChunks(context.Background(), out[:1]))
		require.NoError(t, c.DeleteChunk(context.Background(), out[0].UserID, v13.ExternalKey(out[0].ChunkRef)))
		require.NoError(t, c.PutChunks(context.Background(), out[:1])) // for the next back-end

		counts := map[string]uint64{"get": 6, "open": 6, "alloc": 6, "read": 6, "decode": 6, "put": 3, "delete": 1}
		if core.Built != "cgo" { // the steps are not apart there; zeros would be wrong
			counts["open"], counts["alloc"] = 0, 0
		}
		all := histograms(t, reg)
		require.Len(t, all, len(counts))
		for stage, n := range counts {
			h := all["chunkring_stage_duration_seconds{"+stage+"}"]
			require.Equal(t, n, h.GetSampleCount(), stage)
			require.Equal(t, n > 0, h.GetSampleSum() > 0, stage)
			require.NotEmpty(t, h.Bucket, "classic buckets: %s", stage)
			require.NotNil(t, h.Schema, "native: %s", stage)
			inBuckets, inThis := int64(h.GetZeroCount()), int64(0)
			for _, delta := range h.PositiveDelta {
				inThis += delta
				inBuckets += inThis
			}
			require.EqualValues(t, n, inBuckets, "native buckets: %s", stage)
		}
		sum := func(stage string) float64 { return all["chunkring_stage_duration_seconds{"+stage+"}"].GetSampleSum() }
		require.GreaterOrEqual(t, sum("get"), sum("open")+sum("alloc")+sum("read")+sum("decode"), "the steps are within the call")
	})
}

// What each kind of damage is called; one for each kind that a file can have.
var kinds = map[string]string{
	"outer-empty":                "empty",
	"outer-cut-stream-id":        "checksum",
	"inner-cut-to-3":             "truncated",
	"inner-metalen-zero":         "meta_length",
	"inner-frame-len-3":          "meta_frame",
	"inner-datalen-plus-1":       "data_length",
	"inner-magic":                "magic",
	"inner-version-5":            "version",
	"inner-codec-10-v4":          "codec",
	"inner-metaslen-max-v4":      "metas_range",
	"inner-metas-crc-v3":         "metas_crc",
	"inner-num-2to60-v4":         "metas_format",
	"inner-offset-minus-1-v4":    "block_range",
	"inner-blocks-100-v4":        "block_overlap",
	"inner-footer-cut-16-v4":     "symbols_range",
	"inner-symbols-crc":          "symbols_crc",
	"inner-symbols-garbage-zstd": "symbols_format",
	"inner-json-tenant":          "wrong_metadata",
	"inner-json-garbage":         "undecodable",
}

// Every damaged file is one corrupt chunk, of one kind, and a sound one is none.
func TestCorruptionByKind(t *testing.T) {
	x, err := chunkgen.LoadBad(badDir)
	require.NoError(t, err)
	eachBackend(t, func(t *testing.T, backend string) {
		dir := t.TempDir()
		c, reg := ringAndMetrics(t, dir, backend, &logLines{})
		before, named := samples(t, reg), 0
		for _, f := range x.Files {
			name := place(t, dir, v13, f.Chunk(), must(os.ReadFile(x.Path(f))))
			out, err := c.GetChunks(context.Background(), []chunk.Chunk{f.Chunk()})
			require.NoError(t, os.Remove(name))

			after := samples(t, reg)
			change := func(metric string) map[string]float64 {
				diff := map[string]float64{}
				for name, v := range only(after, metric) {
					if v != before[name] {
						diff[strings.TrimPrefix(name, metric)] = v - before[name]
					}
				}
				return diff
			}
			found, result := change("chunkring_corrupt_chunks_total"), change("chunkring_chunks_total")
			before = after
			require.Len(t, result, 1, f.Name())
			if err == nil {
				require.Len(t, out, 1)
				require.Equal(t, map[string]float64{"{read,ok}": 1}, result, f.Name())
				require.Empty(t, found, f.Name())
				continue
			}
			require.Len(t, found, 1, "%s: %v: %v", f.Name(), result, err)
			if !f.OuterCRCOK {
				require.Equal(t, map[string]float64{"{read,checksum}": 1}, result, f.Name())
			} else {
				require.Equal(t, map[string]float64{"{read,malformed}": 1}, result, f.Name())
			}
			if kind, ok := kinds[f.Name()]; ok {
				named++
				require.Equal(t, map[string]float64{"{" + kind + "}": 1}, found, f.Name())
			}
		}
		require.Equal(t, len(kinds), named, "of the files in the table, some were not found bad")
	})
}

// The back-end that runs, and why it is not the one that was wanted.
func TestBackendInfo(t *testing.T) {
	info := func(backend, reason string) string {
		return fmt.Sprintf(`
# HELP chunkring_backend_info 1 for the back-end in use; fallback_reason says why it is not io_uring.
# TYPE chunkring_backend_info gauge
chunkring_backend_info{backend=%q,fallback_reason=%q} 1
`, backend, reason)
	}
	eachBackend(t, func(t *testing.T, backend string) {
		_, reg := ringAndMetrics(t, t.TempDir(), backend, &logLines{})
		require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(info(backend, "")), "chunkring_backend_info"))
	})
	t.Run("refused", func(t *testing.T) {
		if !inChild(t, nil) {
			return
		}
		refuse(t, syscall.EPERM, ioURingSetup)
		reason := "io_uring_setup: operation not permitted"
		if core.Built != "cgo" {
			reason = "build without cgo"
		}
		for _, wanted := range []string{chunkring.BackendAuto, chunkring.BackendURing} {
			_, reg := ringAndMetrics(t, t.TempDir(), wanted, &logLines{})
			require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(info("threads", reason)), "chunkring_backend_info"))
		}
	})
}

// A store that was closed uses no back-end any more: neither after a restart with another one nor while
// others of the registry are open does its series stay.
func TestBackendInfoAfterStop(t *testing.T) {
	reg := prometheus.NewRegistry()
	open := func(backend string) *chunkring.Client {
		c, err := chunkring.New(chunkring.Config{Directory: t.TempDir(), Backend: backend}, v13, nil, reg)
		require.NoError(t, err)
		t.Cleanup(c.Stop)
		return c
	}
	inUse := func() map[string]float64 { return only(samples(t, reg), "chunkring_backend_info") }
	threads := map[string]float64{"chunkring_backend_info{threads,}": 1}
	require.Empty(t, inUse())
	one, two := open("threads"), open("threads")
	require.Equal(t, threads, inUse())
	one.Stop()
	one.Stop()
	require.Equal(t, threads, inUse())
	auto := open("auto")
	two.Stop()
	require.Len(t, inUse(), 1)
	if auto.Backend() == "uring" {
		require.Equal(t, map[string]float64{"chunkring_backend_info{uring,}": 1}, inUse())
	}
	auto.Stop()
	require.Empty(t, inUse())
	open("threads")
	require.Equal(t, threads, inUse())
}

// A store that fails each time fills neither the log nor the disk that it is on; what is left out is counted.
func TestLogLinesAreBounded(t *testing.T) {
	m := newMixed(t)
	lines := &logLines{}
	c, reg := ringAndMetrics(t, m.dir, "", lines)
	outside := forTenant(t, sampleNamed(t, "v4-one-entry"), "..")
	const calls = 1000
	failed := 0 // a line each, if it were not for the bound
	var wg sync.WaitGroup
	for range 4 {
		unstorable := outside.ref
		require.NoError(t, unstorable.Decode(chunk.NewDecodeContext(), outside.bytes))
		failed += calls/4 + (calls/4+2)/3 // the first kind of call has two of them
		wg.Go(func() {
			for i := range calls / 4 {
				switch i % 3 {
				case 0:
					_, _ = c.GetChunks(context.Background(), []chunk.Chunk{m.damaged, m.good, m.missing})
				case 1:
					_, _ = c.GetChunks(context.Background(), []chunk.Chunk{m.droppedBlock})
				case 2:
					_ = c.PutChunks(context.Background(), []chunk.Chunk{unstorable})
				}
			}
		})
	}
	wg.Wait()
	c.Stop() // says what is still to say
	logged := len(lines.with("a chunk failed")) + len(lines.with("damaged blocks"))
	require.GreaterOrEqual(t, logged, 100, "enough to see what is wrong")
	require.Less(t, logged, failed/2)
	require.EqualValues(t, failed-logged, samples(t, reg)["chunkring_log_lines_dropped_total"])
	said := 0
	for _, line := range lines.with("level=warn component=chunkring msg=lines about failed chunks were left out") {
		var n int
		_, err := fmt.Sscanf(line[strings.Index(line, "lines="):], "lines=%d", &n)
		require.NoError(t, err, line)
		said += n
	}
	require.Equal(t, failed-logged, said, "the log says how many are missing")
}

// Something else under one of our metrics' names is an error of New that leaks nothing.
func TestMetricsTaken(t *testing.T) {
	noLeaks(t)
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "chunkring_chunks_total", Help: "somebody else's"}))
	dir := filepath.Join(t.TempDir(), "chunks")
	for range 2 {
		_, err := chunkring.New(chunkring.Config{Directory: dir}, v13, nil, reg)
		require.ErrorContains(t, err, "register metrics")
	}
	c, err := chunkring.New(chunkring.Config{Directory: dir}, v13, nil, prometheus.NewRegistry())
	require.NoError(t, err)
	c.Stop()
}
