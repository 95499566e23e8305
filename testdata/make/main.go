// SPDX-License-Identifier: Apache-2.0

// Command make writes testdata/good and testdata/bad, the chunk files that tests and fuzzers read,
// with their indexes. It always makes the same bytes; run it after a change to go/internal/chunkgen
// or to Loki's version, and look at the difference:
//
//	go run ./testdata/make && git diff --stat testdata
//
// Each bad file is decoded by stock Loki in a child process with 4 GiB of address space and 10
// seconds, since some of them make it take all memory.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/chunkring/chunkring/go/chunkgen"
)

func main() {
	dir := flag.String("dir", "testdata", "`directory` whose good and bad are written")
	stock := flag.Bool("stock", false, "be the child that decodes one file (used by the program itself)")
	flag.Parse()
	if err := run(*dir, *stock); err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}

func run(dir string, stock bool) error {
	if stock {
		return chunkgen.StockChild(os.Stdin, os.Stdout)
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%w; run this in the module's root, or give -dir", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return chunkgen.MakeCorpus(ctx, dir, exe, "-stock")
}
