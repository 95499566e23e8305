// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/bench/internal/stats"
)

// A machine is too noisy if a fixed loop, run again and again, differs more than this from its 10th to its
// 90th percentile, as a part of its median. Memory is shared with other machines of the same host.
const (
	cpuSpreadMax    = 0.15
	memorySpreadMax = 0.40
	loops           = 40
	listenTries     = 3
	listenPause     = 5 * time.Second

	pointSpreadMax = 0.30 // of the same loop between the rounds of a point, which is then measured once more
	noisyShareMax  = 0.25 // of all points may stay noisy
)

var loopBytes = func() []byte {
	b := make([]byte, 256<<10) // fits any second-level cache
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()

// cpuLoop takes a few milliseconds that depend on nothing but the CPU.
func cpuLoop() time.Duration {
	const passes = 200
	begin, sum := time.Now(), uint32(0)
	for range passes {
		sum = crc32.Update(sum, castagnoli, loopBytes)
	}
	runtime.KeepAlive(sum)
	return time.Since(begin)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// memoryLoop takes some milliseconds that depend on memory alone.
func memoryLoop(to, from []byte) time.Duration {
	begin := time.Now()
	copy(to, from)
	return time.Since(begin)
}

// listen runs first the one loop on all CPUs at the same time, then the other.
func listen() result.Noise {
	return result.Noise{
		CPU: everywhere(func() func() time.Duration { return cpuLoop }),
		Memory: everywhere(func() func() time.Duration {
			to, from := make([]byte, 32<<20), make([]byte, 32<<20)
			memoryLoop(to, from) // page faults
			memoryLoop(from, to)
			return func() time.Duration { return memoryLoop(to, from) }
		}),
	}
}

func everywhere(prepare func() func() time.Duration) stats.Dist {
	var mu sync.Mutex
	var ready, done sync.WaitGroup
	var all []float64
	cpus := runtime.GOMAXPROCS(0)
	ready.Add(cpus)
	for range cpus {
		done.Go(func() {
			loop := prepare()
			ready.Done()
			ready.Wait()
			var mine []float64
			for range loops {
				mine = append(mine, loop().Seconds())
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	done.Wait()
	return stats.Of(all)
}

func tooNoisy(n result.Noise) error {
	if n.CPU.Spread() <= cpuSpreadMax && n.Memory.Spread() <= memorySpreadMax {
		return nil
	}
	return fmt.Errorf("the machine is too noisy: a fixed loop's time spreads by %.0f %% (at most %.0f), that of a copy in memory by %.0f %% (at most %.0f)",
		100*n.CPU.Spread(), 100*cpuSpreadMax, 100*n.Memory.Spread(), 100*memorySpreadMax)
}

// calmer measures a noisy point once more and returns the calmer one. Its rounds are few and short, so the
// loop before each of them tells whether something else had the CPUs meanwhile.
func calmer(first *result.Point, again func() (*result.Point, error)) (*result.Point, error) {
	if first.Noise <= pointSpreadMax {
		return first, nil
	}
	fmt.Fprintf(os.Stderr, "experiment: the machine was noisy (a fixed loop's time spread by %.0f %%): once more\n", 100*first.Noise)
	second, err := again()
	if err != nil || second.Noise > first.Noise {
		return first, err
	}
	return second, nil
}

// noisyPoints is an error where too many of a run's points stayed noisy to believe its figures.
func noisyPoints(points []result.Point) error {
	noisy := 0
	for i := range points {
		if points[i].Noise > pointSpreadMax {
			noisy++
		}
	}
	if float64(noisy) <= noisyShareMax*float64(len(points)) {
		return nil
	}
	return fmt.Errorf("the machine was too noisy at %d of %d points: a fixed loop's time spread by more than %.0f %%; the results are written and say so; %w",
		noisy, len(points), 100*pointSpreadMax, errNoisy)
}

// cpuTimes are all and the stolen ticks of /proc/stat.
func cpuTimes() (total, stolen float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	const stealColumn = 8
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil || i > stealColumn {
			continue // the word cpu; guests' time is in others' already
		}
		total += n
		if i == stealColumn {
			stolen = n
		}
	}
	return total, stolen
}
