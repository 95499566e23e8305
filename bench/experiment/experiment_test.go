// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/bench/internal/childproc"
	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/bench/internal/stats"
	"github.com/chunkring/chunkring/go/chunkgen"
)

func exactly(ratio float64) stats.Dist { return stats.Dist{P50: ratio, Low: ratio, High: ratio} }

func gatePoint(ratios map[string]stats.Dist) *result.Point {
	p := &result.Point{Files: 100, Size: 900_000, Callers: 1, CPUs: 2, Rows: []result.Row{{Peer: peers.Stock}}}
	for _, name := range []string{peers.Threads, peers.URing} {
		if r, ok := ratios[name]; ok {
			p.Rows = append(p.Rows, result.Row{Peer: name, Ratio: r})
		}
	}
	return p
}

func TestGateDecides(t *testing.T) {
	base := baseline{Ratios: map[string]map[string]stats.Dist{}}
	base.add(gatePoint(map[string]stats.Dist{peers.Threads: exactly(2), peers.URing: exactly(1.5)}))

	same := base.judge(gatePoint(map[string]stats.Dist{peers.Threads: exactly(1.95), peers.URing: exactly(1.6)}))
	require.Len(t, same, 2)
	require.NoError(t, decide(same))

	slower := base.judge(gatePoint(map[string]stats.Dist{peers.Threads: exactly(1.8), peers.URing: exactly(1.5)}))
	err := decide(slower)
	require.ErrorContains(t, err, "threads at files=100")
	require.NotErrorIs(t, err, errNoisy)
	require.NotContains(t, err.Error(), "uring at")
	var out bytes.Buffer
	printGate(&out, slower)
	require.Contains(t, out.String(), "FELL")

	blurred := base.judge(gatePoint(map[string]stats.Dist{peers.Threads: {P50: 1.9, Low: 1.2, High: 2.5}}))
	require.ErrorIs(t, decide(blurred), errNoisy)

	unknown := baseline{Ratios: map[string]map[string]stats.Dist{}}
	require.NoError(t, decide(unknown.judge(gatePoint(map[string]stats.Dist{peers.Threads: exactly(0.1)}))))
}

func TestBaselineIsReadBack(t *testing.T) {
	name := filepath.Join(t.TempDir(), "baseline.json")
	_, err := loadBaseline(name)
	require.ErrorContains(t, err, "-update")
	b := baseline{Ratios: map[string]map[string]stats.Dist{"p": {"threads": exactly(2)}}}
	require.NoError(t, result.Save(name, b))
	got, err := loadBaseline(name)
	require.NoError(t, err)
	require.Equal(t, b, got)
}

func TestStagesOfStacks(t *testing.T) {
	for stack, want := range map[string]string{
		"_copy_to_iter filemap_read ext4_file_read_iter vfs_read __x64_sys_pread64 do_syscall_64":           result.StageRead,
		"clear_page_erms do_anonymous_page asm_exc_page_fault _copy_to_iter filemap_read":                   result.StageFaults,
		"__d_lookup_rcu walk_component path_openat do_filp_open do_sys_openat2":                             result.StageOpen,
		"runtime.memclrNoHeapPointers runtime.mallocgcLarge runtime.mallocgc":                               result.StageZero,
		"runtime.(*pageAlloc).find runtime.(*mheap).alloc runtime.mallocgcLarge runtime.mallocgc":           result.StageAlloc,
		"update cr_chunk_verify cr_file_read":                                                               result.StageCRC,
		"hash/crc32.castagnoliSSE42Triple.abi0 hash/crc32.update github.com/x/chunk.(*Chunk).Decode":        result.StageCRC,
		"runtime.scanObject runtime.gcDrain runtime.gcBgMarkWorker.func2":                                   result.StageGC,
		"runtime.memclrNoHeapPointers runtime.mallocgc runtime.newarray github.com/x/chunk.(*Chunk).Decode": result.StageDecode,
		"finish_task_switch.isra.0 __schedule schedule futex_wait":                                          result.StageOther,
		"io_sq_thread ret_from_fork": result.StageOther,
		"_copy_to_iter filemap_read io_read io_issue_sqe io_submit_sqes io_sq_thread":                                   result.StageRead,
		"cp_new_stat __do_sys_newfstat do_syscall_64":                                                                   result.StageSize,
		"github.com/chunkring/chunkring/go/internal/chunkcheck.(*symbolScanner).scan github.com/chunkring/x.(*one).one": result.StageDecode,
	} {
		require.Equal(t, want, stageOf(strings.Fields(stack)), stack)
	}
}

func TestCountStagesReadsPerfScript(t *testing.T) {
	counts, total, err := countStages(strings.NewReader("experiment \n\tffff81 _copy_to_iter\n\tffff82 filemap_read\n\n" +
		"iou-sqp-1 \n\tffff81 io_sq_thread\n\n" + "experiment \n\n"))
	require.NoError(t, err)
	require.Equal(t, 3, total)
	require.Equal(t, map[string]int{result.StageRead: 1, result.StageOther: 2}, counts)
}

func TestPlansMeasureEachPointOnce(t *testing.T) {
	for name, p := range map[string]plan{"full": fullPlan(2, true), "quick": quickPlan(2, true), "check": checkPlan(2)} {
		seen := map[string]bool{}
		for _, s := range p {
			require.False(t, seen[s.title()], "%s: %s", name, s.title())
			seen[s.title()] = true
			require.Equal(t, peers.Stock, s.peers[0], "the ratios' base comes first")
			require.LessOrEqual(t, s.rounds[0], s.rounds[1])
			require.GreaterOrEqual(t, p.stores()[s.size], s.files)
		}
	}
	shared := slices.IndexFunc(fullPlan(2, false), func(s *spec) bool { return s.files == 100 && s.size == 900_000 && s.cpus == 2 && !s.cold })
	require.Equal(t, []string{result.GroupFiles, result.GroupSizes}, fullPlan(2, false)[shared].groups)
}

func TestSummarize(t *testing.T) {
	ms := time.Millisecond
	stock := []visit{{Walls: []time.Duration{20 * ms}}, {Walls: []time.Duration{30 * ms}}, {Walls: []time.Duration{10 * ms}}}
	mine := []visit{
		{Walls: []time.Duration{10 * ms, 10 * ms}, Chunks: 4, CPU: 40 * ms, Allocs: 8},
		{Walls: []time.Duration{10 * ms, 90 * ms, 10 * ms}, Chunks: 6, CPU: 900 * ms, Allocs: 12},
		{Walls: []time.Duration{5 * ms}, Chunks: 2, CPU: 20 * ms, Allocs: 4, DiskMB: 6},
	}
	row := summarize(&reader{name: "x"}, mine, stock)
	require.Equal(t, []float64{10, 10, 5}, row.Visits)
	require.Equal(t, 2.0, row.Ratio.P50) // 2, 3, 2
	require.Equal(t, 3.0, row.Ratio.P90)
	require.Equal(t, 10.0, row.Wall.P50)
	require.Equal(t, 90.0, row.Wall.P95)
	require.Equal(t, 20.0, row.CPU)
	require.Equal(t, 2.0, row.Allocations)
	require.Equal(t, 1.0, row.ReadMB)
}

func TestTooNoisy(t *testing.T) {
	steady := stats.Dist{P10: 1, P50: 1, P90: 1.05}
	require.NoError(t, tooNoisy(result.Noise{CPU: steady, Memory: steady}))
	require.Error(t, tooNoisy(result.Noise{CPU: stats.Dist{P10: 1, P50: 1, P90: 1.2}, Memory: steady}))
	require.Error(t, tooNoisy(result.Noise{CPU: steady, Memory: stats.Dist{P10: 1, P50: 1, P90: 1.5}}))
}

func TestNoisyPointsAreMeasuredAgain(t *testing.T) {
	point := func(noise float64) *result.Point { return &result.Point{Noise: noise} }
	calls := 0
	again := func(noise float64) func() (*result.Point, error) {
		return func() (*result.Point, error) { calls++; return point(noise), nil }
	}
	got, err := calmer(point(0.1), again(0))
	require.NoError(t, err)
	require.Equal(t, 0.1, got.Noise)
	require.Zero(t, calls)
	for first, second := range map[float64]float64{0.9: 0.4, 0.5: 0.7} {
		got, err = calmer(point(first), again(second))
		require.NoError(t, err)
		require.Equal(t, min(first, second), got.Noise)
	}
	require.Equal(t, 2, calls)

	require.NoError(t, noisyPoints([]result.Point{{Noise: 0.9}, {}, {}, {}}))
	require.ErrorIs(t, noisyPoints([]result.Point{{Noise: 0.9}, {Noise: 0.9}, {}, {}}), errNoisy)
}

func TestCacheKeepsTheLast(t *testing.T) {
	const size = cacheBytes / 4
	var k cache
	for i := range 6 {
		c := chunk.Chunk{}
		c.Checksum = uint32(i)
		k.add([]chunk.Chunk{c}, size)
	}
	require.Equal(t, 4*size, k.total)
	require.EqualValues(t, 2, k.chunks[0].Checksum)
	require.EqualValues(t, 5, k.chunks[3].Checksum)
}

// A child answers over pipes as over a process's.
func TestChildMeasuresAPeer(t *testing.T) {
	dir := t.TempDir()
	x, err := chunkgen.Write(context.Background(), dir, chunkgen.Options{Count: 20, Size: 4_000}, nil)
	require.NoError(t, err)
	digests := map[string]string{}
	for _, name := range []string{peers.Stock, peers.ThreadsReleased, peers.FloorCopy} {
		in, requests := io.Pipe()
		replies, out := io.Pipe()
		served := make(chan error, 1)
		go func() {
			served <- serve(context.Background(), childConfig{Dir: x.Dir(), Peer: name, Files: 10, Callers: 3}, in, out)
		}()
		r := &reader{name: name, process: childproc.Over(name, requests, replies)}
		_, err := r.hello()
		require.NoError(t, err)
		rep, err := r.exchange(request{Do: doDigest, LinesEvery: 1})
		require.NoError(t, err)
		digests[name] = rep.Digest
		_, err = r.exchange(request{Do: doSettle, Limit: 10 * time.Millisecond})
		require.NoError(t, err)
		rep, err = r.exchange(request{Do: doVisit, Ops: 4, Warm: 1})
		require.NoError(t, err)
		require.Len(t, rep.Visit.Walls, 3*4)
		require.Equal(t, 3*4*10, rep.Visit.Chunks)
		require.Positive(t, slices.Min(rep.Visit.Walls))
		if _, ok := callsHow(); ok {
			rep, err = r.exchange(request{Do: doCalls, Ops: 2})
			require.NoError(t, err)
			if name == peers.Stock {
				require.Greater(t, rep.Calls, 3.0, "open, read, close at least")
			}
		}
		rep, err = r.exchange(request{Do: doEnd})
		require.NoError(t, err)
		require.Greater(t, rep.PeakMB, 1.0)
		_, err = r.exchange(request{Do: "dance"})
		require.ErrorContains(t, err, "unknown request")
		require.NoError(t, requests.Close())
		require.NoError(t, <-served)
	}
	require.Len(t, strings.Fields(digests[peers.Stock]), 3)
	require.Equal(t, digests[peers.Stock], digests[peers.ThreadsReleased])
	require.Empty(t, digests[peers.FloorCopy])
}

func TestWriteBench(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, writeBench(&out, &result.Run{Points: []result.Point{{Files: 10, Size: 4000, Callers: 1, CPUs: 2,
		Rows: []result.Row{{Peer: "stock", Visits: []float64{1.5, 2}, CPU: 3, AllocatedBytes: 100, Allocations: 7}}}}}))
	require.Equal(t, 2, strings.Count(out.String(), "\nBenchmarkGetChunks/files=10/size=4000/callers=1/cache=warm/cpus=2/peer=stock 1 "))
	require.Contains(t, out.String(), " 1500000 ns/op 3000000 cpu-ns/op 1000 B/op 70 allocs/op\n")
}

func TestMemoryNeedIsNotNothing(t *testing.T) {
	require.Greater(t, memoryNeed(&spec{peers: []string{"a", "b"}, files: 100, size: 1_000_000, callers: 2}), 2*2*(cacheBytes+200_000_000))
	require.Positive(t, memoryFree())
	total, stolen := cpuTimes()
	require.Greater(t, total, stolen)
	_, err := os.Stat("/proc/self/clear_refs")
	require.False(t, errors.Is(err, os.ErrPermission))
}
