// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/chunkring/diskcache"
)

var update = flag.Bool("update", false, "write the tables of docs/operations.md that are made from the code")

const operationsPage = "../../docs/operations.md"

// TestOperationsPage: the tables of options and metrics in docs/operations.md are what the code registers.
//
//	go test ./go/chunkring -run TestOperationsPage -update
//
// writes them between their comments.
func TestOperationsPage(t *testing.T) {
	page, err := os.ReadFile(operationsPage)
	require.NoError(t, err)
	process, store := options(t)
	made := page
	for _, table := range []struct{ name, text string }{
		{"options of every store", process.table()},
		{"options of a filesystem store", store.table()},
		{"metrics", metricsTable(t)},
	} {
		made = replaced(t, made, table.name, table.text)
	}
	if *update {
		require.NoError(t, os.WriteFile(operationsPage, made, 0o644))
		return
	}
	require.Equal(t, string(made), string(page), "run go test ./go/chunkring -run TestOperationsPage -update")
}

// replaced puts text between the comments of a page that name it.
func replaced(t *testing.T, page []byte, name, text string) []byte {
	t.Helper()
	begin, end := []byte("<!-- begin: "+name+" -->\n"), []byte("<!-- end: "+name+" -->\n")
	head, rest, ok := bytes.Cut(page, begin)
	require.True(t, ok, "%s", begin)
	_, tail, ok := bytes.Cut(rest, end)
	require.True(t, ok, "%s", end)
	return slices.Concat(head, begin, []byte("\n"+text+"\n"), end, tail)
}

// option is a key of Loki's configuration and its flag.
type option struct{ key, flag, value, help string }

type optionList []option

func (l optionList) table() string {
	var b strings.Builder
	b.WriteString("| key | flag | default | what it says |\n|---|---|---|---|\n")
	for _, o := range l {
		fmt.Fprintf(&b, "| `%s` | `-%s` | `%s` | %s |\n", o.key, o.flag, o.value, cell(o.help))
	}
	return b.String()
}

// options are those of a patched Loki, with the prefixes that lokifork's edits give.
func options(t *testing.T) (process, store optionList) {
	t.Helper()
	var processConfig chunkring.LokiProcessConfig
	var storeConfig chunkring.LokiConfig
	list := func(register func(string, *flag.FlagSet), prefix string, config any) (all optionList) {
		f := flag.NewFlagSet("", flag.ContinueOnError)
		register(prefix, f)
		keys := keysOf(reflect.ValueOf(config).Elem())
		f.VisitAll(func(one *flag.Flag) {
			key := keys[reflect.ValueOf(one.Value).Pointer()]
			require.NotEmpty(t, key, "flag %s is of no field with a yaml key", one.Name)
			all = append(all, option{key, one.Name, one.DefValue, one.Usage})
		})
		require.NotEmpty(t, all)
		return all
	}
	return list(processConfig.RegisterFlagsWithPrefix, "store.", &processConfig),
		list(storeConfig.RegisterFlagsWithPrefix, "local.", &storeConfig)
}

// keysOf maps the address of each field of a configuration, which is that of its flag's value, to its yaml key.
func keysOf(v reflect.Value) map[uintptr]string {
	keys := map[uintptr]string{}
	for i := range v.NumField() {
		key, how, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if how == "inline" {
			for at, inner := range keysOf(v.Field(i)) {
				keys[at] = inner
			}
			continue
		}
		keys[v.Field(i).Addr().Pointer()] = key
	}
	return keys
}

// metric is a family of series as Prometheus sees it.
type metric struct {
	name, kind, help string
	labels           []string
}

// lokiMetrics are all metrics of a client that was opened, and of a patched Loki's main.
func lokiMetrics(t *testing.T) (all []metric) {
	t.Helper()
	reg := prometheus.NewRegistry()
	c, err := chunkring.New(chunkring.Config{Directory: t.TempDir()}, v13, nil, reg)
	require.NoError(t, err)
	defer c.Stop()
	require.NoError(t, reg.Register(chunkring.LokiParts{In: "client"}))
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		m := metric{name: f.GetName(), kind: strings.ToLower(f.GetType().String()), help: f.GetHelp()}
		for _, l := range f.GetMetric()[0].GetLabel() {
			m.labels = append(m.labels, l.GetName())
		}
		all = append(all, m)
	}
	require.NotEmpty(t, all)
	return all
}

func metricsTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| metric | type | labels | what it says |\n|---|---|---|---|\n")
	for _, m := range lokiMetrics(t) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), cell(m.help))
	}
	return b.String()
}

// cell is text as a cell of a table has it.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }

// pages are README, docs, and what is deployed with: their names and texts.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files := []string{"../../README.md", "../../SECURITY.md", "../../RELIABILITY.md"}
	for _, pattern := range []string{"../../docs/*.md", "../../docs/deploy/*"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, found)
		files = append(files, found...)
	}
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all[file] = string(text)
	}
	return all
}

// TestPagesNameRealOptionsAndMetrics: options and metrics that a page talks of exist.
func TestPagesNameRealOptionsAndMetrics(t *testing.T) {
	process, store := options(t)
	flags := map[string]bool{}
	for _, o := range slices.Concat(process, store) {
		flags["-"+o.flag] = true
	}
	var diskCache flag.FlagSet
	(&diskcache.Config{}).RegisterFlagsWithPrefix("store.chunkring.", &diskCache)
	diskCache.VisitAll(func(f *flag.Flag) { flags["-"+f.Name] = true })
	metrics := map[string]bool{}
	for _, m := range lokiMetrics(t) {
		metrics[m.name] = true
	}
	seen := 0
	for file, text := range pages(t) {
		for _, name := range regexp.MustCompile(`-(?:store|local)\.chunkring\.[a-z-]+(?:\.[a-z-]+)?`).FindAllString(text, -1) {
			require.True(t, flags[name], "%s: there is no flag %s", file, name)
			seen++
		}
		// Between backticks, perhaps with a label: chunkring_flat.go.txt is a file.
		for _, m := range regexp.MustCompile("`(chunkring_[a-z_]+)(?:`|\\{)").FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "chunkring_disk_cache_") {
				continue // that package's tests know them
			}
			require.True(t, metrics[m[1]], "%s: there is no metric %s", file, m[1])
			seen++
		}
	}
	require.Greater(t, seen, 20)
}

// TestPagesConfigureWhatThereIs: configurations on pages are read by the types that a patched Loki reads them with.
func TestPagesConfigureWhatThereIs(t *testing.T) {
	seen := 0
	for file, text := range pages(t) {
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(block[1], "storage_config:") {
				continue
			}
			var loki struct {
				StorageConfig struct {
					Chunkring struct { // as cmd/lokifork's files have it
						chunkring.LokiProcessConfig `yaml:",inline"`
						DiskCache                   diskcache.Config `yaml:"disk_cache"`
					} `yaml:"chunkring"`
					Filesystem struct {
						Directory string               `yaml:"directory"`
						Chunkring chunkring.LokiConfig `yaml:"chunkring"`
					} `yaml:"filesystem"`
				} `yaml:"storage_config"`
			}
			d := yaml.NewDecoder(strings.NewReader(block[1]))
			d.KnownFields(true)
			require.NoError(t, d.Decode(&loki), "%s:\n%s", file, block[1])
			require.NoError(t, loki.StorageConfig.Chunkring.Validate(), file)
			require.NoError(t, loki.StorageConfig.Chunkring.DiskCache.Validate(), file)
			require.NoError(t, loki.StorageConfig.Filesystem.Chunkring.Validate(), file)
			seen++
		}
	}
	require.NotZero(t, seen)
}

// TestEveryAlertHasAdvice: docs/operations.md says of each alert what to do.
func TestEveryAlertHasAdvice(t *testing.T) {
	page, err := os.ReadFile(operationsPage)
	require.NoError(t, err)
	alerts, err := os.ReadFile("ops/alerts.yaml")
	require.NoError(t, err)
	names := regexp.MustCompile(`(?m)- alert: (\w+)$`).FindAllStringSubmatch(string(alerts), -1)
	require.NotEmpty(t, names)
	for _, m := range names {
		require.Contains(t, string(page), "\n| `"+m[1]+"` |", "a row of the table of alerts")
	}
	rows := regexp.MustCompile("(?m)^\\| `(Chunkring\\w+)` \\|").FindAllStringSubmatch(string(page), -1)
	require.Len(t, rows, len(names), "a row is of an alert that does not exist")
}
