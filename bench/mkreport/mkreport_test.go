// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/csv"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/bench/internal/stats"
)

func dist(median float64) stats.Dist {
	return stats.Dist{N: 9, P10: median * 0.9, P50: median, P90: median * 1.1, P95: median * 1.2, Low: median * 0.95, High: median * 1.05}
}

// made is a run whose times are known: stock takes 1 ms a file, the others half of it.
func made() *result.Run {
	r := &result.Run{Mode: "test", Left: []string{"nothing else"}}
	calls := 3.25
	add := func(group string, files, size int, cold bool) {
		p := result.Point{Groups: []string{group}, Files: files, Size: size, FileBytes: float64(size), Callers: 1, CPUs: 2, Cold: cold, Rounds: 9}
		for _, l := range looks {
			ms, ratio := float64(files)/2, 2.0
			if l.peer == result.Stock {
				ms, ratio = float64(files), 1
			}
			p.Rows = append(p.Rows, result.Row{Peer: l.peer, Wall: dist(ms), Ratio: dist(ratio), CPU: ms, Calls: &calls, PeakMB: 321})
		}
		r.Points = append(r.Points, p)
	}
	for _, files := range []int{500, 50, 100} { // out of order
		add(result.GroupFiles, files, 900_000, false)
	}
	add(result.GroupSizes, 100, 235_000, false)
	add(result.GroupSizes, 100, 1_650_000, false)
	add(result.GroupSmall, 100, 4_000, false)
	add(result.GroupSmall, 1000, 4_000, false)
	add(result.GroupCold, 100, 900_000, true)
	r.Points[0].Rows = append(r.Points[0].Rows, result.Row{Peer: result.StockUnpatched, Wall: dist(505), Ratio: dist(0.99)})
	r.Points = append(r.Points, result.Point{Groups: []string{result.GroupAblation}, Files: 100, Size: 900_000, FileBytes: 900_000, Callers: 1, CPUs: 2,
		Rows: []result.Row{{Peer: result.Stock, Wall: dist(100), Ratio: dist(1)}, {Peer: "ablation:x", Label: "not zeroed", Wall: dist(80), Ratio: dist(1.25)}}})
	r.Stages = []result.Stages{{Peer: result.Stock, Files: 100, Size: 900_000, Samples: 1000, CPU: 400,
		Share: map[string]float64{result.StageRead: 0.25, result.StageCRC: 0.75}}}
	r.Disk = []result.Disk{{Name: "O_DIRECT", Files: 100, Size: 900_000, MBps: 1234}}
	return r
}

func TestReportOfARun(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "run.json"), filepath.Join(dir, "report")
	require.NoError(t, result.Save(in, made()))
	require.NoError(t, run(in, out))
	for _, name := range []string{"files", "sizes-100", "ablation", "stages", "cost", "cold", "overview"} {
		f, err := os.Open(filepath.Join(out, name+".png"))
		require.NoError(t, err)
		picture, err := png.Decode(f)
		require.NoError(t, err, name)
		require.NoError(t, f.Close())
		require.Greater(t, picture.Bounds().Dx(), 400, name)
		svg, err := os.ReadFile(filepath.Join(out, name+".svg"))
		require.NoError(t, err)
		require.Contains(t, string(svg), "</svg>", name)
	}
	require.NoFileExists(t, filepath.Join(out, "sizes-200.png"), "the run has no such points")

	md, err := os.ReadFile(filepath.Join(out, "report.md"))
	require.NoError(t, err)
	text := string(md)
	for _, want := range []string{"(files.svg)", "Left out: nothing else.", "**100 x 900 KB** (9 rounds, 90.0 MB, a fixed loop's spread meanwhile 0 %)",
		"| threads | 50.0 | 60.0 | 45.0 - 55.0 | 2.00 | 1.80 - 2.20 | 50.0 |", "| 3.2 | 0.00 | 321 |", "stock+sync.Pool (unsafe)", "| not zeroed |",
		"| 500 x 900 KB | 500 | 505 | 0.99 |", "| O_DIRECT | 1234 |", "| 100 x 900 KB | stock | 1000 | 400 |",
		"| 50-500 files of 900 KB | 3 | stock | 1.00 |", "1000 us/file"} {
		require.Contains(t, text, want)
	}
	require.Less(t, strings.Index(text, "**50 x 900 KB**"), strings.Index(text, "**100 x 900 KB**")+len(text), "both are there")

	data, err := os.Open(filepath.Join(out, "results.csv"))
	require.NoError(t, err)
	defer data.Close()
	rows, err := csv.NewReader(data).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 1+8*len(looks)+1+2)
	again, err := result.Load(filepath.Join(out, "results.json"))
	require.NoError(t, err)
	require.Equal(t, made(), again)
}

func TestReportOfWholeLokis(t *testing.T) {
	dir := t.TempDir()
	spread := func(v float64) result.Spread { return result.Spread{P50: v, P10: v * 0.9, P90: v * 1.1} }
	row := func(store, query, state, who string) result.E2ERow {
		return result.E2ERow{Store: store, Query: query, State: state, Contender: who, Pairs: 21, Chunks: 7,
			Stock: result.E2ECost{WallMs: spread(200), CPUMs: spread(300), PeakMB: 411}, Other: result.E2ECost{WallMs: spread(100), CPUMs: spread(120)},
			WallRatio: spread(2), CPURatio: spread(2.5)}
	}
	e := &result.E2E{
		Header: result.E2EHeader{Backend: "uring", Lokis: []result.E2ELoki{{Name: "stock", Version: "loki 1"}, {Name: "ours", Version: "loki 2"}},
			Stores: []result.E2EStore{{Name: "full-gzip", Codec: "gzip", Lines: 5, Chunks: 2, Bytes: 3e6, ChunkBytes: 4e3}}},
		Rows: []result.E2ERow{row("full-gzip", "needle", "warm", "ours"), row("full-gzip", "needle", "cold", "ours"),
			row("full-gzip", "needle", "warm", "disabled"), row("full-gzip", "count", "warm", "ours")},
		Memory: []result.E2EMemory{{Store: "full-gzip", PeakMB: map[string]float64{"stock": 500, "ours": 400}}},
		Crowds: []result.E2ECrowd{{Store: "full-gzip", Name: "16 needles at once", Queries: 16, LimitMiB: 512, Rounds: 3, Lokis: []result.E2ECrowdLoki{
			{Name: "stock", Killed: 2, Late: 1, Answered: 9, AnonMB: 487, GroupMB: 537},
			{Name: "ours", Answered: 48, WallMs: spread(8000), CPUMs: spread(9000), DiskMB: spread(80), AnonMB: 114, GroupMB: 356, Walls: []float64{8000}}}}},
	}
	e.Rows[3].Stock.AnonMB, e.Rows[3].Stock.ReadMB, e.Rows[3].Other.AnonMB = 429, 240, 58
	one, two := filepath.Join(dir, "1.json"), filepath.Join(dir, "2.json")
	require.NoError(t, result.Save(one, e))
	e.Rows[0].Store = "tiny"
	require.NoError(t, result.Save(two, e))
	require.NoError(t, reportE2E(one+","+two, dir))
	md, err := os.ReadFile(filepath.Join(dir, "e2e.md"))
	require.NoError(t, err)
	for _, want := range []string{"(e2e.svg)", "## Run 2", "- ours: loki 2", "- store full-gzip: gzip, 5 lines, 3 MB of them, in 2 chunks of 2.0 KB",
		"| full-gzip | needle | warm | 7 | 21 | 200 [180..220] | ours | 100 [90..110] | 2.00 [1.80..2.20] | 300 [270..330] | 120 [108..132] | 2.50 [2.25..2.75] |",
		"| 411 | 0 | - | - | - | - | - | - |\n", "| 411 | 0 | 429 | 58 | 240 | 0.0 | 0.0 | 0.0 |\n",
		"| full-gzip | 16 needles at once | 512 | stock | 3 | 2 | 1 | 9 of 48 | - | - | 487 | 537 | - |\n",
		"| full-gzip | 16 needles at once | 512 | ours | 3 | 0 | 0 | 48 of 48 | 8000 [7200..8800] | 9000 [8100..9900] | 114 | 356 | 80.0 [72.0..88.0] |\n",
		"| tiny | needle | warm |", "| largest | stock | 500 | |"} {
		require.Contains(t, string(md), want)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "e2e.svg"))
	require.NoError(t, err)
	for _, want := range []string{"gzip: needle", "gzip: count", "tiny: needle", "page cache cold"} {
		require.Contains(t, string(svg), want)
	}
	again, err := result.LoadE2E(filepath.Join(dir, "e2e-2.json"))
	require.NoError(t, err)
	require.Equal(t, e, again)

	e.Rows = e.Rows[2:3]
	require.NoError(t, result.Save(one, e))
	require.ErrorContains(t, reportE2E(one, dir), "ours")

	e.Rows, dir = nil, t.TempDir()
	require.NoError(t, result.Save(one, e))
	require.NoError(t, reportE2E(one, dir))
	md, err = os.ReadFile(filepath.Join(dir, "e2e.md"))
	require.NoError(t, err)
	require.NotContains(t, string(md), "e2e.svg")
	require.NoFileExists(t, filepath.Join(dir, "e2e.svg"))
}

func TestReportOfLokisOverAnObjectStore(t *testing.T) {
	dir := t.TempDir()
	samples := func(ms ...float64) (all []result.ObjectsSample) {
		for _, v := range ms {
			all = append(all, result.ObjectsSample{WallMs: v, LokiCPUMs: v / 2, CacheCPUMs: 1, GETs: 184, Distinct: 109, LokiPeakMB: v, CachePeakMB: 7})
		}
		return all
	}
	o := &result.Objects{
		Header: result.ObjectsHeader{Conditions: "first byte after 30ms", Setups: []result.ObjectsSetup{
			{Name: "stock", About: "Loki alone", Loki: "loki 1"}, {Name: "nginx", About: "with nginx", Loki: "loki 1", Cache: "nginx/1"}},
			Stores: []result.E2EStore{{Name: "large", Codec: "snappy", Lines: 5, Chunks: 2, Bytes: 3e6, ChunkBytes: 4e3}}},
		Skipped: []result.ObjectsSkip{{Setup: "memcached", Why: "not installed"}},
	}
	for _, state := range result.States {
		stock := samples(200, 300, 600)
		o.Rows = append(o.Rows, result.NewObjectsRow("large", "needle", state, "stock", stock, stock),
			result.NewObjectsRow("large", "needle", state, "nginx", samples(100, 100, 300), stock))
	}
	file := filepath.Join(dir, "run.json")
	require.NoError(t, result.Save(file, o))
	require.NoError(t, reportObjects(file, dir))
	md, err := os.ReadFile(filepath.Join(dir, "objects.md"))
	require.NoError(t, err)
	for _, want := range []string{"(objects.svg)", "- nginx: with nginx; loki 1; nginx/1", "- memcached: left out: not installed",
		"- bucket large: snappy, 5 lines, 3 MB of them, in 2 chunks of 2.0 KB",
		"| large | needle | killed | nginx | 3 | 100 [100..300] | 2.00 [2.00..3.00] | 51.0 [51.0..151.0] | 1 | 184 [184..184] | 109 | 300 | 7 |"} {
		require.Contains(t, string(md), want)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "objects.svg"))
	require.NoError(t, err)
	for _, want := range []string{"large: needle", "the cache is empty", "all was killed", "nginx"} {
		require.Contains(t, string(svg), want)
	}
	again, err := result.LoadObjects(filepath.Join(dir, "objects.json"))
	require.NoError(t, err)
	require.Equal(t, o, again)

	o.Rows = o.Rows[:1]
	require.NoError(t, result.Save(file, o))
	require.ErrorContains(t, reportObjects(file, dir), "nginx")
}

func TestTicks(t *testing.T) {
	labels := func(ticks []string) string { return strings.Join(ticks, " ") }
	var got []string
	for _, k := range (rounds{}).Ticks(0, 530) {
		got = append(got, k.Label)
	}
	require.Equal(t, "0 100 200 300 400 500", labels(got))
	got = nil
	for _, k := range (decades{}).Ticks(0.5, 20) {
		if k.Label != "" {
			got = append(got, k.Label)
		}
	}
	require.Equal(t, "0.5 1 2 5 10 20", labels(got))
}

func TestNames(t *testing.T) {
	require.Equal(t, "900 KB", sizeName(900_000))
	require.Equal(t, "1.65 MB", sizeName(1_650_000))
	require.Equal(t, "50 x 4 KB, 16 callers", pointName(&result.Point{Files: 50, Size: 4_000, Callers: 16}))
	require.Equal(t, "100 x 900 KB, cold", pointName(&result.Point{Files: 100, Size: 900_000, Callers: 1, Cold: true}))
	require.Equal(t, "uring, rel.", short(result.URingReleased))
}
