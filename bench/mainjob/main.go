// SPDX-License-Identifier: Apache-2.0

// Command mainjob is what `make run` runs: it makes chunk stores with Loki's own encoder, lets Loki's
// own client and chunkring read them, compares everything that they return, and prints how long each
// took. It exits 1 when anything differs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// Exit codes, as -help documents them.
const (
	exitOK    = 0
	exitWrong = 1
	exitUsage = 2
)

type options struct {
	dir      string
	files    int
	sizes    []int
	rounds   int
	backends []string
	json     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(exitOK)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mainjob:", err)
		os.Exit(exitUsage)
	}
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "mainjob:", err)
		os.Exit(exitWrong)
	}
}

func parse(args []string) (options, error) {
	var o options
	var sizes, backends string
	f := flag.NewFlagSet("mainjob", flag.ContinueOnError)
	f.StringVar(&o.dir, "dir", "build/stores", "`directory` for the generated stores; they are kept for the next run")
	f.IntVar(&o.files, "files", 200, "chunk files a batch")
	f.StringVar(&sizes, "sizes", "235000,900000", "`bytes` of a chunk file, a comma-separated list")
	f.IntVar(&o.rounds, "rounds", 11, "rounds; in each every reader reads the whole batch once")
	f.StringVar(&backends, "backends", "uring,threads", "chunkring back-ends to run")
	f.BoolVar(&o.json, "json", false, "print one JSON object a line instead of the table")
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "usage: mainjob [flags]\n\n")
		f.PrintDefaults()
		fmt.Fprintf(f.Output(), "\nexit codes: 0 all equal; 1 something differs or failed; 2 wrong flags\n")
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for _, s := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			return o, fmt.Errorf("-sizes %q: %q is not a size in bytes", sizes, s)
		}
		o.sizes = append(o.sizes, n)
	}
	o.backends = strings.Split(backends, ",")
	if o.files < 1 || o.rounds < 1 || f.NArg() > 0 {
		return o, errors.New("-files and -rounds must be at least 1, and there are no arguments")
	}
	return o, nil
}

func run(ctx context.Context, o options) error {
	var rows []row
	for _, size := range o.sizes {
		dir := filepath.Join(o.dir, fmt.Sprintf("%dx%d", o.files, size))
		index, err := chunkgen.Write(ctx, dir, chunkgen.Options{Count: o.files, Size: size}, progress("store of "+strconv.Itoa(size)+" B chunks"))
		if err != nil {
			return err
		}
		readers, closeAll, err := openReaders(index, o.backends)
		if err != nil {
			return err
		}
		more, err := measure(ctx, index, readers, o.rounds)
		closeAll()
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	if o.json {
		enc := json.NewEncoder(os.Stdout)
		for _, r := range rows {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	printTable(os.Stdout, o, rows)
	return nil
}
