// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"
)

// point is one combination of everything but the reader.
type point struct {
	latency time.Duration // of each LOOKUP, OPEN and READ
	size    int           // bytes of a file
	files   int           // of a batch
}

const filesMax = 100 // of a batch: the stores' number of files

// fullPoints are what a run without -quick measures.
func fullPoints() (all []point) {
	for _, ms := range []time.Duration{1, 5, 20} {
		for _, size := range []int{4_000, 200_000, 1_200_000} {
			for _, files := range []int{1, 20, 50, filesMax} {
				all = append(all, point{ms * time.Millisecond, size, files})
			}
		}
	}
	return all
}

func quickPoints() []point {
	const latency = 10 * time.Millisecond
	return []point{{latency, 4_000, 20}, {latency, 4_000, 100}, {latency, 200_000, 100}}
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
	return fmt.Sprintf("%d ms, %d x %s", p.latency.Milliseconds(), p.files, size)
}
