// SPDX-License-Identifier: Apache-2.0

// Command mkreport makes tables (Markdown, CSV) and plots (SVG, PNG) of a run of bench/experiment, of
// runs of bench/e2espeed, of one of bench/objects, or the plot of one of go/test/soak or bench/evict.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/cli"
)

type options struct{ in, out, soak, e2e, evict, objects string }

func main() { cli.Main("mkreport", parse, report) }

func parse(args []string) (options, error) {
	var o options
	f := cli.Flags("mkreport", "", "0 written; 1 something failed; 2 wrong flags")
	f.StringVar(&o.in, "in", "build/bench/full.json", "`file` that experiment left")
	f.StringVar(&o.out, "out", "bench/report", "`directory` for the report")
	f.StringVar(&o.soak, "soak", "", "`file` that go/test/soak left: makes its plot and nothing else")
	f.StringVar(&o.e2e, "e2e", "", "`files`, comma-separated, that bench/e2espeed left: makes their report and nothing else")
	f.StringVar(&o.evict, "evict", "", "`file` that bench/evict left: makes its plot and nothing else")
	f.StringVar(&o.objects, "objects", "", "`file` that bench/objects left: makes its report and nothing else")
	return o, cli.Parse(f, args, 0)
}

func report(_ context.Context, o options) error {
	switch {
	case o.soak != "":
		return reportSoak(o.soak, o.out)
	case o.e2e != "":
		return reportE2E(o.e2e, o.out)
	case o.evict != "":
		return reportEvict(o.evict, o.out)
	case o.objects != "":
		return reportObjects(o.objects, o.out)
	}
	return run(o.in, o.out)
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
	if _, err := os.Stat(filepath.Join(out, "objects.md")); err == nil {
		text = append(text, "\n## Whole Lokis over an object store\n\n[objects.md](objects.md), of a run of its own.\n"...)
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
