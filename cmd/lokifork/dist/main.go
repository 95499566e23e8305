// SPDX-License-Identifier: Apache-2.0

// Command dist makes what is published of a commit that was built: archives, Debian packages, a container image, lists
// of components and licences. The script build, beside it, builds the commit and runs it.
//
//	dist static FILE...          fails unless each program needs no loader and no shared library
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
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
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
  dist static FILE...
  dist pack   -tree DIR -arch ARCH [options]
  dist source -tree DIR [options]
  dist image  -architectures LIST [options]
  dist sums   DIR
`

var errUsage = errors.New("wrong usage")

func main() {
	err := run(os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	var o options
	f := flag.NewFlagSet("dist "+args[0], flag.ContinueOnError)
	f.StringVar(&o.tree, "tree", "", "`directory` of a commit of chunkring, built")
	f.StringVar(&o.out, "o", "build/dist", "`directory` of the results")
	f.StringVar(&o.work, "work", "build/dist-work", "`directory` of what image takes from pack")
	f.StringVar(&o.arch, "arch", "amd64", "architecture, `amd64 or arm64`")
	f.StringVar(&o.version, "version", "", "`version` of chunkring")
	f.StringVar(&o.lokiVersion, "loki", "", "`version` of Loki, without v")
	f.StringVar(&o.commit, "commit", "", "chunkring's `commit`")
	f.Int64Var(&o.epoch, "epoch", 0, "`seconds` since 1970: the commit's time")
	architectures := f.String("architectures", "amd64", "architectures of the image, a `list` with commas")
	if err := f.Parse(args[1:]); err != nil {
		return errUsage
	}
	o.architectures = strings.Split(*architectures, ",")
	switch args[0] {
	case "static":
		return checkStatic(f.Args())
	case "sums":
		if f.NArg() != 1 {
			return errUsage
		}
		return writeSums(f.Arg(0))
	}
	for name, value := range map[string]string{"version": o.version, "loki": o.lokiVersion, "commit": o.commit} {
		if value == "" {
			return fmt.Errorf("-%s is missing", name)
		}
	}
	for _, dir := range []string{o.out, o.work} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	switch args[0] {
	case "pack":
		return pack(&o)
	case "source":
		return packSource(&o)
	case "image":
		return makeImage(&o)
	}
	return errUsage
}
