// SPDX-License-Identifier: Apache-2.0

// Command lokifork makes a Grafana Loki that reads and writes its chunks with chunkring.
//
//	lokifork tree            copies the Loki named in go.mod out of the module cache into
//	                         build/loki-src, patches it, and writes build/loki.mod, for
//	                         go build -C build/loki-src -modfile ../loki.mod ./cmd/loki
//	                         and build/patched.mod, for chunkring's own programs with that Loki:
//	                         go build -modfile build/patched.mod ./bench/experiment
//	lokifork stock           copies it unpatched into build/loki-stock-src, and writes
//	                         build/loki-stock.mod: what tests and benchmarks compare with
//	lokifork patch DIR       patches a git checkout of Loki, go.mod included
//	lokifork status DIR      says which parts fit a Loki, which are in it, and all anchors that moved
//	lokifork diff            prints all that is changed, as a patch for git apply
//
// Nothing of Loki's source is part of chunkring. The changes to Loki's files are a table in edits.go,
// found by anchors; the files that are added are in files/, which mirrors Loki's tree (those that end
// in _test.go.txt go into the tree, and into a checkout with patch -tests). Doing the same twice changes nothing.
//
// Edits and files are in parts (parts.go). A part goes into a Loki as a whole or not at all, and only the
// parts that parts.go names for a version may be left out of it. What is left out is said here, by
// loki -version, and by the metric chunkring_parts_info.
//
// Exit codes, which for status are those that patch would have: 0 done, 1 something failed, 2 wrong usage,
// 3 anchors moved: this Loki differs from what the edits were made for, 4 the checkout has uncommitted or
// half-patched files in the way.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/mod/modfile"
)

const (
	exitFailed = 1
	exitUsage  = 2
	exitMoved  = 3
	exitDirty  = 4
)

const usage = `lokifork makes a Grafana Loki that reads and writes its chunks with chunkring.

usage:
  lokifork tree   [-root DIR] [-loki VERSION] [-o DIR] [-modfile FILE] [-patched FILE]
  lokifork stock  [-root DIR] [-loki VERSION] [-o DIR] [-modfile FILE]
  lokifork patch  [-root DIR] [-tests] CHECKOUT
  lokifork status [-root DIR] [-json] CHECKOUT
  lokifork diff   [-root DIR] [-loki VERSION] [-chunkring PATH]

  tree    copies Loki out of Go's module cache and patches the copy: make loki builds it
  stock   copies it without a patch: tests and benchmarks compare with it
  patch   patches a git checkout of Loki, its go.mod included
  status  says which parts fit a checkout, which are in it, which anchors moved, and whether patch would do;
          it changes nothing
  diff    prints all changes as a patch for git apply

exit codes:
  0  done; for status: patch would do it, or has done it
  1  something failed
  2  wrong usage
  3  anchors moved: this Loki differs from those that the edits were made for
  4  the checkout has uncommitted or half-patched files in the way

lokifork COMMAND -help prints the flags of that command
`

var errUsage = errors.New("wrong usage")

func main() {
	err := run(os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, errUsage) && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "lokifork:", err)
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	var moved *movedError
	var dirty *dirtyError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &moved):
		return exitMoved
	case errors.As(err, &dirty):
		return exitDirty
	}
	return exitFailed
}

// inBuild is given, or a name in the folder of what is built of a version of Loki.
func inBuild(given, version, name string) string {
	if given != "" {
		return given
	}
	return filepath.Join("build", version, name)
}

// parse parses flags before and after the operand, if there is one, and returns it.
func parse(f *flag.FlagSet, args []string, operands int) (operand string, err error) {
	flags := func(args []string) error {
		err := f.Parse(args)
		if err != nil && !errors.Is(err, flag.ErrHelp) {
			return errUsage // package flag has said what is wrong
		}
		return err
	}
	if err := flags(args); err != nil {
		return "", err
	}
	if operands == 1 && f.NArg() > 0 {
		operand, operands = f.Arg(0), 0
		if err := flags(f.Args()[1:]); err != nil {
			return "", err
		}
	}
	if f.NArg() != operands {
		f.Usage()
		return "", errUsage
	}
	return operand, nil
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errUsage
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.Usage = func() {
		line := regexp.MustCompile(`(?m)^  lokifork ` + args[0] + ` .*\n`).FindString(usage)
		fmt.Fprint(os.Stderr, "usage:\n", line, "\n")
		f.PrintDefaults()
	}
	root := f.String("root", ".", "chunkring's `directory`, with its go.mod")
	var command func() error
	var checkout string
	operands := 0
	switch args[0] {
	case "tree":
		loki := f.String("loki", "", "`version` of Loki; default: that of -root's go.mod")
		o := f.String("o", "", "`directory` of the patched copy, below -root; default: build/loki-src, with -loki build/VERSION/loki-src")
		modfile := f.String("modfile", "", "`file` for go build -modfile in that directory; default: build/loki.mod, with -loki build/VERSION/loki.mod")
		patched := f.String("patched", "",
			"`file` for go build -modfile in chunkring's; default: build/patched.mod, with -loki build/VERSION/patched.mod. Not for a Loki with older modules than chunkring's")
		command = func() error {
			return makePatched(out, *root, *loki, inBuild(*o, *loki, "loki-src"), inBuild(*modfile, *loki, "loki.mod"), inBuild(*patched, *loki, "patched.mod"))
		}
	case "stock":
		loki := f.String("loki", "", "`version` of Loki; default: that of -root's go.mod")
		o := f.String("o", "", "`directory` of the unpatched copy, below -root; default: build/loki-stock-src, with -loki build/VERSION/loki-stock-src")
		modfile := f.String("modfile", "", "`file` for go build -modfile in that directory; default: build/loki-stock.mod, with -loki build/VERSION/loki-stock.mod")
		command = func() error {
			return makeStock(out, *root, *loki, inBuild(*o, *loki, "loki-stock-src"), inBuild(*modfile, *loki, "loki-stock.mod"))
		}
	case "status":
		operands = 1
		asJSON := f.Bool("json", false, "print JSON")
		command = func() error { return printStatus(out, *root, checkout, *asJSON) }
	case "patch":
		operands = 1
		tests := f.Bool("tests", false, "add chunkring's tests of what is added, too, and print the command that runs them")
		command = func() error { return patchCheckout(out, *root, checkout, *tests) }
	case "diff":
		loki := f.String("loki", "", "`version` of Loki; default: that of -root's go.mod")
		chunkring := f.String("chunkring", "../chunkring", "`path` of chunkring for the replace line, seen from the checkout")
		command = func() error { return printDiff(out, *root, *loki, *chunkring) }
	case "-h", "-help", "--help", "help":
		fmt.Fprint(out, usage)
		return nil
	default:
		fmt.Fprintf(os.Stderr, "lokifork: there is no command %q; see lokifork -help\n", args[0])
		return errUsage
	}
	var err error
	if checkout, err = parse(f, args[1:], operands); err != nil {
		return err
	}
	abs, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	*root = abs
	if err := checkRoot(*root); err != nil {
		return err
	}
	return command()
}

// checkRoot reports that a directory is not chunkring's.
func checkRoot(root string) error {
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if modfile.ModulePath(gomod) != chunkringModule {
		return fmt.Errorf("%s is not chunkring's folder: run in chunkring's folder or give -root", root)
	}
	return nil
}
