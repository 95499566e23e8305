// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/chunkring/chunkring/bench/internal/result"
)

// write leaves MODE.json for mkreport and MODE.bench for benchstat, and prints a short table.
func write(o options, r *result.Run) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	base := filepath.Join(o.out, r.Mode)
	if err := result.Save(base+".json", r); err != nil {
		return err
	}
	f, err := os.Create(base + ".bench")
	if err != nil {
		return err
	}
	if err := writeBench(f, r); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	printShort(os.Stdout, r)
	fmt.Printf("\n%s.json, %s.bench (benchstat -col /peer)\n", base, base)
	return nil
}

// writeBench writes Go's benchmark format: a line for every visit, so that benchstat sees the spread.
func writeBench(w io.Writer, r *result.Run) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "goos: linux\npkg: github.com/chunkring/chunkring/bench/experiment\ncpu: %s\n", r.Machine.Name)
	for i := range r.Points {
		p := &r.Points[i]
		for _, row := range p.Rows {
			for _, ms := range row.Visits {
				fmt.Fprintf(b, "BenchmarkGetChunks/%s/peer=%s 1 %.0f ns/op %.0f cpu-ns/op %.0f B/op %.0f allocs/op\n", p.Name(), row.Peer,
					ms*1e6, row.CPU*1e6, row.AllocatedBytes*float64(p.Files), row.Allocations*float64(p.Files))
			}
		}
	}
	return b.Flush()
}

func printShort(w io.Writer, r *result.Run) {
	fmt.Fprintf(w, "\n%s\nmedians; stock/this is the median of the ratios within each round [10 %% .. 90 %%]\n", r.Machine.Name)
	for i := range r.Points {
		p := &r.Points[i]
		fmt.Fprintf(w, "\n%s (%d rounds)\n", p.Name(), p.Rounds)
		for _, row := range p.Rows {
			fmt.Fprintf(w, "  %-70s %9.3f ms  %5.2f [%5.2f %5.2f]  CPU %9.3f ms\n", row.Peer, row.Wall.P50, row.Ratio.P50, row.Ratio.P10, row.Ratio.P90, row.CPU)
		}
	}
	for _, left := range r.Left {
		fmt.Fprintln(w, "left out:", left)
	}
}
