// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
)

// demoGroup is the group of the demonstration's points; no report shows it.
const demoGroup = "demo"

// demoPlan is what `make run` shows: stock and chunkring, at the sizes that Loki's own chunks have, in a
// program with an unmodified Loki and in one with a patched Loki. Every entry of every chunk is compared.
func demoPlan(cpus int, unpatched bool) plan {
	readers := []string{peers.Stock, peers.URing, peers.URingReleased, peers.Threads, peers.ThreadsReleased}
	programs := [][]string{readers}
	if unpatched {
		other := slices.Clone(readers)
		for i := range other {
			other[i] += result.Unpatched
		}
		programs = [][]string{other, readers}
	}
	var p plan
	for _, names := range programs {
		for _, size := range []int{235_000, 900_000} {
			// Not p.add: the two programs' points differ by their readers only.
			p = append(p, &spec{groups: []string{demoGroup}, files: 200, size: size, callers: 1, cpus: cpus, peers: names,
				cap: 5 * time.Second, rounds: [2]int{5, 11}, everyEntry: true})
		}
	}
	return p
}

// demo measures the demonstration's points and prints a table for each program. A busy machine does not
// stop it: each row has the spread of its ratios.
func (d *driver) demo(ctx context.Context, o options, p plan, r *result.Run) error {
	if err := d.leaveOutRefused(p); err != nil {
		return err
	}
	for i, s := range p {
		if need, free := memoryNeed(s), memoryFree(); need > free {
			return fmt.Errorf("%s: its readers need %d MB, %d are free; -only 235 chooses the small chunks", s.title(), need>>20, free>>20)
		}
		point, err := d.point(ctx, s, fmt.Sprintf("%d/%d %s, %s", i+1, len(p), s.title(), lokiOf(s.peers[0], "a patched Loki")))
		if err != nil {
			return fmt.Errorf("%s: %w", s.title(), err)
		}
		r.Points = append(r.Points, *point)
	}
	r.Minutes = time.Since(d.begin).Minutes()
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	printDemo(os.Stdout, r)
	return result.Save(filepath.Join(o.out, o.mode+".json"), r)
}

var openPeer = peers.Open // a test refuses

// leaveOutRefused takes io_uring's readers out of a plan where this machine refuses io_uring, and says so:
// the threads' rows are worth seeing without them.
func (d *driver) leaveOutRefused(p plan) error {
	x := d.stores[p[0].size]
	peer, err := openPeer(peers.URing, peers.Store{Dir: x.Dir(), Schema: x.Schema()})
	if err == nil {
		peer.Stop()
		return nil
	}
	if !errors.Is(err, peers.ErrBackend) {
		return err
	}
	fmt.Fprintf(os.Stderr, "experiment: io_uring is refused on this machine, so its rows are missing: %v\n", err)
	for _, s := range p {
		s.peers = slices.DeleteFunc(slices.Clone(s.peers), func(name string) bool { return strings.HasPrefix(name, peers.URing) })
	}
	return nil
}

// lokiOf names the Loki in a reader's program.
func lokiOf(peer, patched string) string {
	if strings.HasSuffix(peer, result.Unpatched) {
		return "an unmodified Loki"
	}
	return patched
}

func printDemo(w io.Writer, r *result.Run) {
	fmt.Fprintf(w, "\nEvery byte and every decoded entry is equal to what Loki's own client returns.\n"+
		"Whole GetChunks, page cache warm; each reader is a process of its own, they read in turns, in random order.\n"+
		"Medians; stock/this is the median of the ratios within each round [10 %% .. 90 %%]: a wide range means a busy machine.\n")
	program := ""
	for _, p := range r.Points {
		loki := lokiOf(p.Rows[0].Peer, "a Loki "+r.Machine.Loki)
		if loki != program {
			program = loki
			fmt.Fprintf(w, "\nWith %s:\n\n"+
				"| reader            | files | file size | stock ms | ms     | stock/this          | CPU ms | allocs/chunk | allocated/chunk | page faults/chunk |\n"+
				"|-------------------|-------|-----------|----------|--------|---------------------|--------|--------------|-----------------|-------------------|\n", loki)
		}
		for _, row := range p.Rows {
			fmt.Fprintf(w, "| %-17s | %5d | %6.0f KB | %8.2f | %6.2f | %5.2f [%5.2f %5.2f] | %6.2f | %12.1f | %12.0f KB | %17.1f |\n",
				strings.TrimSuffix(row.Peer, result.Unpatched), p.Files, p.FileBytes/1000, p.Rows[0].Wall.P50, row.Wall.P50,
				row.Ratio.P50, row.Ratio.P10, row.Ratio.P90, row.CPU, row.Allocations, row.AllocatedBytes/1000, row.Faults)
		}
	}
	fmt.Fprintf(w, "\nmachine: %s, %s\n", r.Machine.Name, r.Machine.Go)
}
