// SPDX-License-Identifier: Apache-2.0

// Command genstore writes a directory of Loki chunk files, made by Loki's own encoder, together
// with an index.json that lists them. Benchmarks and tests read such stores.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/cli"
)

// Exit codes, as -help documents them.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usageHead = `genstore writes a directory of Loki chunk files with Loki's own encoder, and an index.json
that lists them for benchmarks and tests. The same flags make the same bytes. A directory that
already holds exactly this store is left as it is; one that holds anything else is refused.

usage: genstore -dir DIR [flags]

`

const usageTail = `
examples:
  genstore -dir /tmp/store                                   100 snappy chunks of 900 KB
  genstore -dir /tmp/tiny -count 5000 -size 3500             what idle streams leave behind
  genstore -dir /tmp/old -schema v11 -format 3 -codec gzip   flat file names
  genstore -dir /tmp/mine -logs a.log,b.log -codec zstd      lines of your own

exit codes:
  0  the store is there, complete
  1  it could not be written; the message says why and what to do
  2  the flags make no sense; nothing was touched
`

// summary is what -json prints.
type summary struct {
	Dir      string           `json:"dir"`
	Chunks   int              `json:"chunks"`
	Bytes    int64            `json:"bytes"`
	Entries  int64            `json:"entries"`
	Blocks   int64            `json:"blocks"`
	Seconds  float64          `json:"seconds"`
	Existing bool             `json:"existing"` // it was there already
	Options  chunkgen.Options `json:"options"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// list is a flag that may be repeated and holds a comma-separated list each time.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	for _, name := range strings.Split(s, ",") {
		if name != "" {
			*l = append(*l, name)
		}
	}
	return nil
}

func run(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) int {
	var (
		dir    string
		asJSON bool
		damage int
		opts   chunkgen.Options
	)
	f := flag.NewFlagSet("genstore", flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed below, once
	f.StringVar(&dir, "dir", "", "`directory` to write; made if missing (required)")
	f.IntVar(&opts.Count, "count", 100, "chunks to write")
	f.IntVar(&opts.Size, "size", 900_000, "`bytes` of each chunk file, hit within 3 % (under 2 KB: within 64 bytes)")
	f.StringVar(&opts.Codec, "codec", "snappy", "none, gzip, lz4-64k, lz4-256k, lz4-1M, lz4, snappy, flate or zstd")
	f.IntVar(&opts.Format, "format", 0, "chunk format, 1 to 4 (1 is always gzip; 4 has structured metadata; default: what Loki\nwrites under the schema, 3 up to v12 and 4 from v13)")
	f.StringVar(&opts.Schema, "schema", "v13", "schema `version`; up to v11 all files lie flat in one directory, from v12 nested")
	f.Uint64Var(&opts.Seed, "seed", 0, "`number` to make other logs of the same kind")
	f.IntVar(&opts.Tenants, "tenants", 1, "tenants; a single one is called \"fake\", as in a Loki without tenants")
	f.IntVar(&opts.Streams, "streams", 8, "streams per tenant; chunks are dealt to all streams in turn")
	f.Var((*list)(&opts.Logs), "logs", "log `files` to take lines from instead of making them up; repeat the flag or use commas")
	f.IntVar(&damage, "damage", 0, fmt.Sprintf("chunks to damage afterwards, each in another way, at most %d; each is listed. To try chunkctl", chunkgen.Defects))
	f.BoolVar(&asJSON, "json", false, "print the summary as one JSON object")

	usage := func(w io.Writer) {
		fmt.Fprint(w, usageHead)
		f.SetOutput(w)
		f.PrintDefaults()
		fmt.Fprint(w, usageTail)
	}
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		usage(stdout)
		return exitOK
	} else if err != nil {
		return badUsage(stderr, err)
	}
	switch {
	case f.NArg() > 0:
		return badUsage(stderr, fmt.Errorf("unexpected argument %q", f.Arg(0)))
	case dir == "":
		return badUsage(stderr, errors.New("-dir is missing"))
	}
	// Options takes 0 for "default"; a user who types 0 means something else.
	for name, v := range map[string]int{"count": opts.Count, "size": opts.Size, "tenants": opts.Tenants, "streams": opts.Streams} {
		if v < 1 {
			return badUsage(stderr, fmt.Errorf("-%s %d: must be at least 1", name, v))
		}
	}
	if damage < 0 || damage > min(chunkgen.Defects, opts.Count) {
		return badUsage(stderr, fmt.Errorf("-damage %d: must be 0 to %d, and no more than -count", damage, chunkgen.Defects))
	}
	if err := opts.Check(); err != nil {
		return badUsage(stderr, err)
	}

	begin := time.Now()
	bar, wrote := cli.ProgressOn(stderr, "writing chunks"), false
	index, err := chunkgen.Write(ctx, dir, opts, func(done, total int) {
		bar(done, total)
		wrote = true
	})
	if err != nil {
		fmt.Fprintln(stderr, "genstore:", err)
		if hint := hint(err); hint != "" {
			fmt.Fprintln(stderr, "genstore:", hint)
		}
		return exitFailed
	}
	list := stdout
	if asJSON {
		list = stderr
	}
	if damage > 0 && !plant(list, stderr, index, damage, wrote) {
		return exitFailed
	}
	return report(stdout, stderr, asJSON, summarize(index, time.Since(begin), !wrote))
}

// plant damages a store that was just written: twice damaged may be sound again.
func plant(list, stderr io.Writer, index *chunkgen.Index, n int, fresh bool) bool {
	if !fresh {
		fmt.Fprintln(stderr, "genstore: the store was there already and is left as it is: remove it to have a damaged one")
		return false
	}
	planted, err := chunkgen.Damage(index, n)
	for _, p := range planted {
		fmt.Fprintf(list, "damaged: %s: %s\n", p.Path, p.What)
	}
	if err != nil {
		fmt.Fprintln(stderr, "genstore:", err)
	}
	return err == nil
}

func badUsage(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "genstore: %v\ngenstore: see genstore -help\n", err)
	return exitUsage
}

// hint says what to do next where the error itself doesn't.
func hint(err error) string {
	switch {
	case errors.Is(err, chunkgen.ErrOtherStore):
		return "" // its text says it
	case errors.Is(err, context.Canceled):
		return "interrupted; the same command begins again in the same directory"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full: free some space, or give a smaller -count or -size, then run the same command again"
	case errors.Is(err, os.ErrPermission):
		return "choose a -dir you may write to"
	case errors.Is(err, os.ErrNotExist):
		return "check -dir and the file names given to -logs"
	}
	return ""
}

func summarize(x *chunkgen.Index, took time.Duration, existing bool) summary {
	s := summary{
		Dir:      x.Dir(),
		Chunks:   len(x.Refs),
		Bytes:    x.Bytes(),
		Seconds:  took.Seconds(),
		Existing: existing,
		Options:  x.Options,
	}
	for _, r := range x.Refs {
		s.Entries += int64(r.Entries)
		s.Blocks += int64(r.Blocks)
	}
	return s
}

func report(stdout, stderr io.Writer, asJSON bool, s summary) int {
	var err error
	if asJSON {
		err = json.NewEncoder(stdout).Encode(s)
	} else {
		verb := "wrote"
		if s.Existing {
			verb = "found"
		}
		_, err = fmt.Fprintf(stdout, "%s %d chunks, %.1f MB, %d lines in %s (%.1f s)\n",
			verb, s.Chunks, float64(s.Bytes)/1e6, s.Entries, s.Dir, s.Seconds)
	}
	if err != nil {
		fmt.Fprintln(stderr, "genstore: the store is complete, but its summary could not be printed:", err)
		return exitFailed
	}
	return exitOK
}
