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
