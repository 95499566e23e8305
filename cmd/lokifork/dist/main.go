// SPDX-License-Identifier: Apache-2.0

// Command dist makes what is published of a commit that was built: archives, Debian packages, a container image, lists
// of components and licences. The script build, beside it, builds the commit and runs it.
//
//	dist static FILE             fails unless a program needs no loader and no shared library
//	dist pack -tree DIR ...      one architecture: archives, packages, lists of components, the image's layer
//	dist source -tree DIR ...    the source of both: what Loki's licence has us offer
//	dist image -o DIR ...        an OCI archive of the architectures packed before
//	dist sums DIR                SHA256SUMS of all files in a folder
//
// The same tree gives the same bytes: names are sorted, owners are root, and times are the commit's.
//
//	main.go        options
//	static.go      program headers
//	components.go  Go modules and C libraries that a program was linked from
//	licences.go    their licences
//	sbom.go        their list, as CycloneDX JSON
//	files.go       files with owners and modes, and archives of them
//	archive.go     the archives
//	debian.go      the packages; debian/ has their scripts
//	image.go       the image
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/chunkring/chunkring/go/cli"
)

// options are those of pack, source and image.
type options struct {
	tree          string // a commit of chunkring that was built there
	out           string
	work          string // files that image takes up again
	arch          string // as Go names it
	version       string // of chunkring
	lokiVersion   string
	commit        string
	epoch         int64 // when it was committed, in seconds
	architectures []string
}

func (o *options) time() time.Time { return time.Unix(o.epoch, 0).UTC() }

const usage = `usage:
  dist static FILE
  dist pack   -tree DIR -arch ARCH [flags]
  dist source -tree DIR [flags]
  dist image  -architectures LIST [flags]
  dist sums   DIR

dist COMMAND -help lists the flags of a command
`

func main() {
	cli.Main("dist", parse, func(_ context.Context, command func() error) error { return command() })
}

// parse returns what is to be done.
func parse(args []string) (command func() error, err error) {
	if len(args) == 0 {
		return nil, errors.New("a command is missing")
	}
	switch name, args := args[0], args[1:]; name {
	case "-help", "--help", "-h":
		fmt.Print(usage)
		return nil, flag.ErrHelp
	case "static":
		return parseFile(name, "FILE", args, checkStatic)
	case "sums":
		return parseFile(name, "DIR", args, writeSums)
	case "pack":
		return parseOptions(name, args, pack)
	case "source":
		return parseOptions(name, args, packSource)
	case "image":
		return parseOptions(name, args, makeImage)
	default:
		return nil, fmt.Errorf("%s is no command", name)
	}
}

func flags(command, operands string) *flag.FlagSet {
	return cli.Flags("dist "+command, operands, "0 done; 1 something failed; 2 wrong usage")
}

func parseFile(name, operand string, args []string, do func(string) error) (func() error, error) {
	f := flags(name, operand)
	err := cli.Parse(f, args, 1)
	return func() error { return do(f.Arg(0)) }, err
}

func parseOptions(name string, args []string, do func(*options) error) (func() error, error) {
	var o options
	f := flags(name, "")
	f.StringVar(&o.tree, "tree", "", "`directory` of a commit of chunkring, built")
	f.StringVar(&o.out, "o", "build/dist", "`directory` of the results")
	f.StringVar(&o.work, "work", "build/dist-work", "`directory` of what image takes from pack")
	f.StringVar(&o.arch, "arch", "amd64", "architecture, `amd64 or arm64`")
	f.StringVar(&o.version, "version", "", "`version` of chunkring")
	f.StringVar(&o.lokiVersion, "loki", "", "`version` of Loki, without v")
	f.StringVar(&o.commit, "commit", "", "chunkring's `commit`")
	f.Int64Var(&o.epoch, "epoch", 0, "`seconds` since 1970: the commit's time")
	architectures := f.String("architectures", "amd64", "architectures of the image, a `list` with commas")
	if err := cli.Parse(f, args, 0); err != nil {
		return nil, err
	}
	o.architectures = strings.Split(*architectures, ",")
	for _, required := range []string{"version", "loki", "commit"} {
		if f.Lookup(required).Value.String() == "" {
			return nil, fmt.Errorf("-%s is missing", required)
		}
	}
	return func() error {
		for _, dir := range []string{o.out, o.work} {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return err
			}
		}
		return do(&o)
	}, nil
}
