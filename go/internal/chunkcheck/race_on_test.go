// SPDX-License-Identifier: Apache-2.0

//go:build race

package chunkcheck

// sample is every how many-th input the exhaustive tests take. They are single-threaded, so the race
// detector finds nothing in them that it does not find in a sample, at 30 times the cost; the run
// without it (make test has one) takes all.
const sample = 37
