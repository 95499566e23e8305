// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestCacheExportsItsReader: what operations.md says of partial reads and of the back-end is exported with a disk cache
// alone, and logged; but not as chunks that can't be read: those are misses and damaged copies.
func TestCacheExportsItsReader(t *testing.T) {
	chunks, reg := someChunks(t, 3, 3000), prometheus.NewRegistry()
	var said bytes.Buffer
	c, err := New(configOf(t.TempDir()), originOf(t, chunks), schema, bucket, log.NewLogfmtLogger(log.NewSyncWriter(&said)), reg)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	get(t, c, chunks)
	settle(t, c)
	require.NoError(t, os.Truncate(c.fileOf(chunks[0]), 100))
	require.NoError(t, os.Remove(c.fileOf(chunks[1])))
	get(t, c, chunks)
	second, err := New(c.cfg, originOf(t, chunks), schema, bucket, nil, reg) // of another period
	require.NoError(t, err)
	second.Stop()

	got := exported(t, reg)
	for _, name := range []string{"chunks_partly_read_total", "bytes_not_read_total", "blocks_read_total", "block_bytes_read_total",
		"block_read_duration_seconds", "blocks_unreadable_total", "blocks_dropped_total", "decode_panics_total"} {
		require.Contains(t, got, "chunkring_"+name)
	}
	require.EqualValues(t, 1, got["chunkring_backend_info"])
	for _, name := range []string{"chunks_total", "corrupt_chunks_total", "bytes_total"} {
		require.NotContains(t, got, "chunkring_"+name)
	}
	c.Stop()
	require.Regexp(t, `msg="chunk store open" directory=\S+ .*backend=\w+ .*partial_reads=`, said.String())
	require.NotContains(t, said.String(), "reading a chunk failed")
	require.NotContains(t, exported(t, reg), "chunkring_backend_info")
}

// exported are the metrics of a registry, each with the sum of its series.
func exported(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			all[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}

// TestOpsAndPageNameRealMetrics: the alerts, the dashboard and docs/diskcache.md ask for metrics that exist, and both
// have all of them.
func TestOpsAndPageNameRealMetrics(t *testing.T) {
	const prefix = "chunkring_disk_cache_"
	reg := prometheus.NewRegistry()
	_, err := newMetrics(reg)
	require.NoError(t, err)
	families, err := reg.Gather()
	require.NoError(t, err)
	known, series := map[string]bool{}, map[string]bool{}
	for _, f := range families {
		known[f.GetName()] = true
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				series[f.GetName()+" "+l.GetName()+" "+l.GetValue()] = true
			}
		}
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	ops := read("../ops/alerts.yaml") + read("../ops/dashboard.json")
	asked := regexp.MustCompile(prefix+`[a-z_]+`).FindAllString(ops, -1)
	require.NotEmpty(t, asked)
	for _, name := range asked {
		require.True(t, known[strings.TrimSuffix(name, "_bucket")], "there is no metric %s", name)
	}
	selected := regexp.MustCompile(`(`+prefix+`[a-z_]+)\{(\w+)="(\w+)"`).FindAllStringSubmatch(read("../ops/alerts.yaml"), -1)
	require.NotEmpty(t, selected)
	for _, s := range selected {
		require.True(t, series[s[1]+" "+s[2]+" "+s[3]], "there is no %s{%s=%q}", s[1], s[2], s[3])
	}
	for name := range known {
		require.Contains(t, ops, name, "no panel and no alert has it")
	}
	page := read("../../../docs/diskcache.md")
	for name := range known {
		require.Regexp(t, "`"+strings.TrimPrefix(name, prefix)+"[`{]", page)
	}
}
