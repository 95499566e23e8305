// SPDX-License-Identifier: Apache-2.0

// Package cli has what this repository's programs in Go share: the frame of main, a progress bar, the
// machine's name. It lies here because programs in bench, cmd and go/test use it; it promises nothing to
// anybody else.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// Exit codes that all programs share. An error made by WithCode has one of its own.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Main is a program's main: it parses the flags, runs, says what went wrong and exits. SIGINT and SIGTERM
// end the context. parse is to use Flags and Parse.
func Main[O any](name string, parse func(args []string) (O, error), run func(context.Context, O) error) {
	os.Exit(status(name, os.Stderr, os.Args[1:], parse, run))
}

// Child is Main for a process that a program starts itself as: it has no flags.
func Child(name string, run func(context.Context) error) {
	noFlags := func([]string) (struct{}, error) { return struct{}{}, nil }
	os.Exit(status(name, os.Stderr, nil, noFlags, func(ctx context.Context, _ struct{}) error { return run(ctx) }))
}

func status[O any](name string, stderr io.Writer, args []string, parse func([]string) (O, error), run func(context.Context, O) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return ExitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n%s: see %s -help\n", name, err, name, name)
		return ExitUsage
	}
	if err = run(ctx, o); err == nil {
		return ExitOK
	}
	what := "FAILED"
	if ctx.Err() != nil {
		what = "interrupted"
	}
	fmt.Fprintf(stderr, "%s: %s: %v\n", name, what, err)
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return ExitFailed
}

// Flags returns a program's empty set of flags. operands is what follows the flags in the usage line, exits
// the meaning of the exit codes; -help shows both.
func Flags(name, operands, exits string) *flag.FlagSet {
	if operands != "" {
		operands = " " + operands
	}
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "usage: %s [flags]%s\n\n", name, operands)
		f.PrintDefaults()
		fmt.Fprintf(f.Output(), "\nexit codes: %s\n", exits)
	}
	return f
}

// Parse parses args, which are flags and then so many operands. It prints the usage for -help, and only for
// it: an error of a flag would be lost among all the others.
func Parse(f *flag.FlagSet, args []string, operands int) error {
	f.SetOutput(io.Discard)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		f.SetOutput(os.Stdout)
		f.Usage()
		return err
	} else if err != nil {
		return err
	}
	switch {
	case f.NArg() > operands:
		return fmt.Errorf("unexpected argument %q", f.Arg(operands))
	case f.NArg() < operands:
		return errors.New("an argument is missing")
	}
	return nil
}

// Given returns the flags that were given, for a report: "-pairs 9 -quick". Those of which the names are in without say
// where things are on one machine, which nobody else has a use for.
func Given(f *flag.FlagSet, without ...string) (words []string) {
	f.Visit(func(given *flag.Flag) {
		if slices.Contains(without, given.Name) {
			return
		}
		value := given.Value.String()
		if b, ok := given.Value.(interface{ IsBoolFlag() bool }); !ok || !b.IsBoolFlag() {
			words = append(words, "-"+given.Name, value)
		} else if value == "true" {
			words = append(words, "-"+given.Name)
		} else {
			words = append(words, "-"+given.Name+"="+value)
		}
	})
	return words
}

// codedError is an error with an exit code of its own.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// WithCode gives an error an exit code, wherever in a chain of errors Main finds it.
func WithCode(code int, err error) error { return &codedError{code, err} }
