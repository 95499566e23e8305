// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
)

// spec is a point to measure.
type spec struct {
	groups  []string
	files   int
	size    int
	callers int
	cpus    int
	cold    bool
	peers   []string
	cap     time.Duration // of the rounds
	rounds  [2]int        // least and most

	everyEntry bool // are all compared, however long that takes
}

// linesEvery says of how many chunks, each of so many bytes, one is compared line by line.
func (s *spec) linesEvery(chunkBytes int) int {
	if s.everyEntry {
		return 1
	}
	return max(1, s.files*chunkBytes/linesBytes)
}

// The sweeps. Loki itself asks for 50 chunks at a time; the experiment asked for 50 to 500.
var (
	fileCounts  = []int{50, 100, 200, 300, 400, 500}
	fileSizes   = []int{235_000, 450_000, 900_000, 1_300_000, 1_650_000}
	smallSizes  = []int{1_000, 4_000, 20_000}
	smallCounts = []int{100, 1000, 5000}
)

// plan lists points in the order of measuring. Points that several groups share are measured once.
type plan []*spec

func (p *plan) add(group string, s spec) {
	if s.callers == 0 {
		s.callers = 1
	}
	for _, old := range *p {
		if old.files == s.files && old.size == s.size && old.callers == s.callers && old.cpus == s.cpus && old.cold == s.cold &&
			group != result.GroupAblation && !slices.Contains(old.groups, result.GroupAblation) {
			old.groups = append(old.groups, group)
			return
		}
	}
	s.groups = []string{group}
	*p = append(*p, &s)
}

// sweepPeers are for the published experiment's sweeps, where chunkring in an unmodified Loki is of interest.
func sweepPeers(unpatched bool) []string {
	names := slices.Clone(peers.Readers)
	if unpatched {
		names = append(names, result.ThreadsUnpatched, result.URingUnpatched)
	}
	return append(names, peers.Floors...)
}

func warmPeers() []string { return slices.Concat(peers.Readers, peers.Floors) }

func coldPeers() []string { return slices.Concat(peers.Readers, []string{peers.FloorRotating}) }

// fullPlan is all that the report shows, for programs confined to so many CPUs.
func fullPlan(cpus int, unpatched bool) plan {
	var p plan
	warm := func(group string, files, size int) {
		p.add(group, spec{files: files, size: size, cpus: cpus, peers: sweepPeers(unpatched), cap: 6 * time.Second, rounds: [2]int{5, 31}})
	}
	for _, n := range fileCounts {
		warm(result.GroupFiles, n, 900_000)
	}
	for _, n := range []int{100, 200} {
		for _, size := range fileSizes {
			warm(result.GroupSizes, n, size)
		}
	}
	for _, n := range smallCounts {
		for _, size := range smallSizes {
			warm(result.GroupSmall, n, size)
		}
	}
	for _, size := range []int{4_000, 20_000, 235_000, 900_000} {
		warm(result.GroupOne, 1, size)
	}
	for _, callers := range []int{1, 4, 16} {
		for _, size := range []int{4_000, 235_000, 900_000} {
			p.add(result.GroupCallers, spec{files: 50, size: size, callers: callers, cpus: cpus, peers: warmPeers(), cap: 6 * time.Second, rounds: [2]int{5, 31}})
		}
	}
	for _, s := range []spec{{files: 1, size: 4_000}, {files: 1000, size: 4_000}, {files: 100, size: 235_000}, {files: 100, size: 900_000}, {files: 100, size: 1_650_000}} {
		s.cpus, s.peers, s.cap, s.rounds = 1, warmPeers(), 6*time.Second, [2]int{5, 31}
		p.add(result.GroupOneCPU, s)
	}
	if unpatched {
		p.control([]spec{{files: 100, size: 900_000}, {files: 100, size: 235_000}, {files: 1000, size: 4_000}})
	}
	p.ablations(cpus, 100, []int{900_000, 235_000, 20_000}, 10*time.Second)
	for _, s := range []spec{{files: 50, size: 900_000}, {files: 200, size: 900_000}, {files: 200, size: 235_000}, {files: 200, size: 1_650_000}, {files: 1000, size: 20_000}, {files: 1000, size: 4_000}} {
		s.cpus, s.cold, s.peers, s.cap, s.rounds = cpus, true, coldPeers(), 16*time.Second, [2]int{5, 9}
		p.add(result.GroupCold, s)
	}
	return p
}

// quickPlan is a handful of them.
func quickPlan(cpus int, unpatched bool) plan {
	var p plan
	for _, s := range []struct {
		group string
		spec
	}{
		{result.GroupSizes, spec{files: 100, size: 900_000}},
		{result.GroupSizes, spec{files: 100, size: 235_000}},
		{result.GroupSmall, spec{files: 1000, size: 4_000}},
		{result.GroupOne, spec{files: 1, size: 235_000}},
		{result.GroupCallers, spec{files: 50, size: 235_000, callers: 4}},
	} {
		s.cpus, s.peers, s.cap, s.rounds = cpus, sweepPeers(unpatched), 6*time.Second, [2]int{5, 31}
		p.add(s.group, s.spec)
	}
	if unpatched {
		p.control([]spec{{files: 100, size: 900_000}})
	}
	p.ablations(cpus, 100, []int{900_000}, 7*time.Second)
	p.add(result.GroupCold, spec{files: 100, size: 900_000, cpus: cpus, cold: true, peers: coldPeers(), cap: 10 * time.Second, rounds: [2]int{3, 5}})
	return p
}

// checkPlan is what the regression gate looks at: stock and chunkring only.
func checkPlan(cpus int) plan {
	var p plan
	for _, s := range []spec{{files: 100, size: 900_000}, {files: 100, size: 235_000}, {files: 100, size: 20_000}, {files: 1000, size: 4_000}, {files: 1, size: 235_000}} {
		s.cpus, s.cap, s.rounds = cpus, 16*time.Second, [2]int{15, 101}
		s.peers = []string{peers.Stock, peers.Threads, peers.URing, peers.ThreadsReleased, peers.URingReleased}
		p.add("check", s)
	}
	return p
}

// control adds stock in the unpatched program to points that there are: it shows that the patched Loki's own
// client is no slower or faster than the unmodified one's.
func (p plan) control(at []spec) {
	for _, s := range p {
		if s.plainly(at) {
			s.peers = append(s.peers, result.StockUnpatched)
		}
	}
}

// plainly reports whether s is one of these by files and size, warm, with one caller and all readers.
func (s *spec) plainly(at []spec) bool {
	return !s.cold && s.callers == 1 && !slices.Contains(s.groups, result.GroupAblation) && !slices.Contains(s.groups, result.GroupOneCPU) &&
		slices.ContainsFunc(at, func(a spec) bool { return a.files == s.files && a.size == s.size })
}

// ablationStep is one step of the ablation and what it is called in the report.
type ablationStep struct {
	label string
	sw    peers.Switches
}

// ablationAlone changes one thing of the stock shape at a time; checksums can be left out with the lean
// decoder only, so those three are to be compared with each other.
var ablationAlone = []ablationStep{
	{result.StepShape, peers.StockShape},
	{result.StepFresh, peers.Switches{Buffers: "fresh", Goroutines: 150}},
	{result.StepRecycled, peers.Switches{Buffers: "recycled", Goroutines: 150}},
	{result.StepWorkers, peers.Switches{Buffers: "zeroed"}},
	{result.StepRing, peers.Switches{Buffers: "zeroed", Goroutines: 150, URing: true}},
	{result.StepTwoCRCs, peers.Switches{Buffers: "zeroed", Goroutines: 150, Lean: true, CRCPasses: 2}},
	{result.StepOneCRC, peers.Switches{Buffers: "zeroed", Goroutines: 150, Lean: true, CRCPasses: 1}},
	{"lean decoder, no CRC", peers.Switches{Buffers: "zeroed", Goroutines: 150, Lean: true}},
}

// ablationTogether adds one change to the next.
var ablationTogether = []ablationStep{
	{"+ one goroutine a CPU, lean decoder, 1 CRC pass", peers.Switches{Buffers: "zeroed", Lean: true, CRCPasses: 1}},
	{"+ not zeroed", peers.Switches{Buffers: "fresh", Lean: true, CRCPasses: 1}},
	{"+ recycled buffers", peers.Switches{Buffers: "recycled", Lean: true, CRCPasses: 1}},
	{"+ io_uring", peers.Switches{Buffers: "recycled", Lean: true, CRCPasses: 1, URing: true}},
}

// ablationLabel is what a step is called, "" for other peers.
func ablationLabel(peer string) string {
	for _, s := range slices.Concat(ablationAlone, ablationTogether) {
		if s.sw.Name() == peer {
			return s.label
		}
	}
	return ""
}

func (p *plan) ablations(cpus, files int, sizes []int, limit time.Duration) {
	names := []string{peers.Stock}
	for _, s := range slices.Concat(ablationAlone, ablationTogether) {
		names = append(names, s.sw.Name())
	}
	for _, size := range sizes {
		p.add(result.GroupAblation, spec{files: files, size: size, cpus: cpus, peers: names, cap: limit, rounds: [2]int{5, 31}})
	}
}

// stores says how many files of each size the plan needs at most.
func (p plan) stores() map[int]int {
	need := map[int]int{}
	for _, s := range p {
		need[s.size] = max(need[s.size], s.files)
	}
	return need
}
