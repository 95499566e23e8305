// SPDX-License-Identifier: Apache-2.0

// Command mkreport makes tables (Markdown, CSV) and plots (SVG, PNG) of a run of bench/experiment, of
// runs of bench/e2espeed, or the plot of one of bench/soak.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chunkring/chunkring/bench/internal/result"
)

func main() {
	in := flag.String("in", "build/bench/full.json", "`file` that experiment left")
	out := flag.String("out", "bench/report", "`directory` for the report")
	soak := flag.String("soak", "", "`file` that bench/soak left: makes its plot and nothing else")
	e2e := flag.String("e2e", "", "`files`, comma-separated, that bench/e2espeed left: makes their report and nothing else")
	flag.Parse()
	do := run
	if *e2e != "" {
		*in, do = *e2e, reportE2E
	}
	if *soak != "" {
		*in, do = *soak, reportSoak
	}
	if err := do(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "mkreport:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	r, err := result.Load(in)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	made, err := plots(r, out)
	if err != nil {
		return err
	}
	text := markdown(r, made)
	if _, err := os.Stat(filepath.Join(out, "e2e.md")); err == nil {
		text = append(text, "\n## Whole Lokis\n\n[e2e.md](e2e.md), of a run of its own.\n"...)
	}
	if err := os.WriteFile(filepath.Join(out, "report.md"), text, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "results.csv"), csvTable(r), 0o644); err != nil {
		return err
	}
	if err := result.Save(filepath.Join(out, "results.json"), r); err != nil {
		return err
	}
	fmt.Printf("%s: report.md, results.csv, results.json and %d plots\n", out, len(made))
	return nil
}
