// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// point is one combination of everything but the reader.
type point struct {
	latency time.Duration // of each LOOKUP, OPEN and READ
	size    int           // bytes of a file
	files   int           // of a batch
	span    time.Duration // whose lines are read, out of the hour of a chunk; 0: whole chunks, and no line
}

const (
	filesMax = 100 // of a batch: the stores' number of files

	rangeSpan  = 2 * time.Minute // of the 56 minutes of 20 blocks: in one block or two of each chunk
	rangeBlock = 161_000         // bytes of a block's lines, of which 1.2 MB, compressed by snappy, have 20
)

// store is what a point reads: where the chunks of which a range is read all lie beside each other in time.
func (p point) store() (name string, opts chunkgen.Options) {
	opts = chunkgen.Options{Count: filesMax, Size: p.size}
	if p.span == 0 {
		return fmt.Sprintf("slow-%dx%d", filesMax, p.size), opts
	}
	// Without structured metadata, as format 3 is: a trace id for each line would be much of a chunk, which is read whole then.
	opts.Streams, opts.Block, opts.Format = filesMax, rangeBlock, 3
	return fmt.Sprintf("slow-range-%dx%d", filesMax, p.size), opts
}

// fullPoints are what a run without -quick measures.
func fullPoints() []point { return append(wholePoints(), rangePoints()...) }

// rangePoints are short queries over full chunks. The fastest storage is a network's block device, or NFS nearby.
func rangePoints() (all []point) {
	for _, latency := range []time.Duration{200 * time.Microsecond, time.Millisecond, 5 * time.Millisecond} {
		for _, files := range []int{1, 26, filesMax} {
			all = append(all, point{latency, 1_200_000, files, rangeSpan})
		}
	}
	return all
}

func wholePoints() (all []point) {
	for _, ms := range []time.Duration{1, 5, 20} {
		for _, size := range []int{4_000, 200_000, 1_200_000} {
			for _, files := range []int{1, 20, 50, filesMax} {
				all = append(all, point{ms * time.Millisecond, size, files, 0})
			}
		}
	}
	return all
}

func quickPoints() []point {
	const latency = 10 * time.Millisecond
	return []point{{latency, 4_000, 20, 0}, {latency, 4_000, 100, 0}, {latency, 200_000, 100, 0}, {latency, 1_200_000, 26, rangeSpan}}
}

// choose is what the flags ask for.
func choose(o options) (chosen []point) {
	all := fullPoints()
	if o.quick {
		all = quickPoints()
	}
	for _, p := range all {
		if o.only.MatchString(p.title()) {
			chosen = append(chosen, p)
		}
	}
	return chosen
}

func (p point) title() string {
	size := fmt.Sprintf("%d KB", p.size/1000)
	if p.size >= 1_000_000 {
		size = fmt.Sprintf("%.1f MB", float64(p.size)/1e6)
	}
	title := fmt.Sprintf("%g ms, %d x %s", p.latency.Seconds()*1e3, p.files, size)
	if p.span > 0 {
		title += fmt.Sprintf(", %g minutes of it", p.span.Minutes())
	}
	return title
}
