// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// TestOpsNameRealMetrics: the dashboard and the alerts ask for metrics and labels that exist, in PromQL.
func TestOpsNameRealMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := newMetrics(reg, false)
	require.NoError(t, err)
	m.backend.add(backendLabels{backend: "threads"}, 1)
	families, err := reg.Gather()
	require.NoError(t, err)
	known := map[string]bool{}
	for _, f := range families {
		known[f.GetName()] = true
		require.NotEmpty(t, f.GetHelp())
	}

	dashboard, err := os.ReadFile("ops/dashboard.json")
	require.NoError(t, err)
	require.True(t, json.Valid(dashboard))
	promql := parser.NewParser(parser.Options{})
	exprs := regexp.MustCompile(`"expr": ("(?:[^"\\]|\\.)*")`).FindAllStringSubmatch(string(dashboard), -1)
	require.NotEmpty(t, exprs)
	for _, e := range exprs {
		var expr string
		require.NoError(t, json.Unmarshal([]byte(e[1]), &expr))
		// Grafana puts a duration and patterns in the variables' place.
		_, err := promql.ParseExpr(strings.ReplaceAll(expr, "$__rate_interval", "5m"))
		require.NoError(t, err, expr)
	}
	alerts, err := os.ReadFile("ops/alerts.yaml")
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	require.NoError(t, yaml.Unmarshal(alerts, &rules))
	require.NotEmpty(t, rules.Groups)
	for _, r := range rules.Groups[0].Rules {
		_, err := promql.ParseExpr(r.Expr)
		require.NoError(t, err, r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
	}

	used := map[string]bool{}
	for _, name := range regexp.MustCompile(`chunkring_[a-z_]+`).FindAllString(string(dashboard)+string(alerts), -1) {
		name = strings.TrimSuffix(name, "_bucket")
		if strings.HasPrefix(name, "chunkring_disk_cache_") { // that package's test knows them
			continue
		}
		used[name] = true
		require.True(t, known[name], "%s is asked for, but there is no such metric", name)
	}
	for name := range known {
		if name != "chunkring_log_lines_dropped_total" { // says only that the log is not complete
			require.True(t, used[name], "%s is on no panel and in no alert", name)
		}
	}
}
