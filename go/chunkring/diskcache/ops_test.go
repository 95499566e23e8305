// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

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
