// SPDX-License-Identifier: Apache-2.0

// Package result is what a run of bench/experiment leaves behind and bench/mkreport reads.
package result

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/chunkring/chunkring/bench/internal/stats"
)

// Run is one run of the experiment. Times are milliseconds unless a name says otherwise.
type Run struct {
	Mode     string    `json:"mode"` // full, quick
	Begin    time.Time `json:"begin"`
	Minutes  float64   `json:"minutes"`
	Machine  Machine   `json:"machine"`
	Noise    Noise     `json:"noise"`
	Points   []Point   `json:"points"`
	Stages   []Stages  `json:"stages"`
	Disk     []Disk    `json:"disk"`
	Left     []string  `json:"left_out"` // what was not measured, and why
	ColdHow  string    `json:"cold_how"`
	CallsHow string    `json:"system_calls_how"`
}

// Machine is what the figures depend on.
type Machine struct {
	Name       string `json:"name"` // CPU, number of CPUs, kernel
	Go         string `json:"go"`
	Loki       string `json:"loki"`
	Memory     string `json:"memory"`
	HugePages  string `json:"transparent_huge_pages"`
	FileSystem string `json:"file_system"`
	Commit     string `json:"commit"`
}

// Noise is how steady a fixed loop ran: first alone, then before each round.
type Noise struct {
	CPU    stats.Dist `json:"cpu_before"`
	Memory stats.Dist `json:"memory_before"`
	During stats.Dist `json:"cpu_during"`
	Stolen float64    `json:"stolen"` // part of the CPU time that the hypervisor gave to others, over the run
	Forced bool       `json:"forced"` // the machine was too noisy and the run went on all the same
}

// Point is one combination of everything but the reader.
type Point struct {
	Groups    []string `json:"groups"` // what it is for
	Files     int      `json:"files"`
	Size      int      `json:"size"`       // nominal bytes of a file
	FileBytes float64  `json:"file_bytes"` // mean
	Callers   int      `json:"callers"`    // at the same time, each with its own batch
	CPUs      int      `json:"cpus"`
	Cold      bool     `json:"cold"`
	Rounds    int      `json:"rounds"`
	Repeated  int      `json:"repeated"` // warm visits that read from the disk all the same, and were made again
	Noise     float64  `json:"noise"`    // spread of the fixed loop's time, before each round
	Rows      []Row    `json:"rows"`
}

// The names of the readers.
const (
	Stock           = "stock"
	StockPool       = "stock+sync.Pool"
	Published       = "published-io_uring"
	GoDirect        = "go-2-workers"
	Threads         = "threads"
	URing           = "uring"
	ThreadsReleased = "threads-released"
	URingReleased   = "uring-released"
	FloorHot        = "floor-pread-hot"
	FloorRotating   = "floor-pread-rotating"
	FloorCopy       = "floor-memcpy"

	// Unpatched ends the name of a reader that runs in a program with an unmodified Loki. All others
	// run in one that lokifork patched, where chunkring decodes by DecodeVerified.
	Unpatched        = "-unpatched"
	StockUnpatched   = Stock + Unpatched
	ThreadsUnpatched = Threads + Unpatched
	URingUnpatched   = URing + Unpatched
)

// The groups of points.
const (
	GroupFiles    = "files"    // number of files, 900 KB each
	GroupSizes    = "sizes"    // 235 KB to 1.65 MB, 100 and 200 files
	GroupSmall    = "small"    // 1, 4, 20 KB, up to 5000 files
	GroupOne      = "one"      // a batch of one
	GroupCallers  = "callers"  // 1, 4, 16 at the same time
	GroupOneCPU   = "one-cpu"  // on one CPU
	GroupCold     = "cold"     // from the disk
	GroupAblation = "ablation" // the parts of a reader, one by one
)

// The labels of the ablation's steps that a finding is made of.
const (
	StepShape    = "a reader of stock's shape"
	StepFresh    = "not zeroed"
	StepRecycled = "recycled buffers"
	StepWorkers  = "one goroutine a CPU"
	StepRing     = "io_uring"
	StepTwoCRCs  = "lean decoder, 2 CRC passes"
	StepOneCRC   = "lean decoder, 1 CRC pass"
)

// Row is one reader at one point.
type Row struct {
	Peer           string     `json:"peer"`
	Label          string     `json:"label,omitempty"` // of a step of the ablation
	Backend        string     `json:"backend,omitempty"`
	Wall           stats.Dist `json:"wall_ms"`           // of every GetChunks
	Ratio          stats.Dist `json:"stock_over_this"`   // of the visits' medians, within each round
	CPU            float64    `json:"cpu_ms"`            // user and system of all threads, for one GetChunks; the visits' median
	AllocatedBytes float64    `json:"allocated_bytes"`   // by Go, a chunk
	Allocations    float64    `json:"allocations"`       // by Go, a chunk
	Faults         float64    `json:"page_faults"`       // a chunk
	Switches       float64    `json:"context_switches"`  // a chunk
	Calls          *float64   `json:"system_calls"`      // a chunk; nil: could not be counted
	PeakMB         float64    `json:"peak_rss_mb"`       // of the reader's process
	ReadMB         float64    `json:"read_from_disk_mb"` // for one GetChunks
	Visits         []float64  `json:"visits_ms"`         // median of each visit, in order of the rounds
}

// Row returns the reader's row, or nil.
func (p *Point) Row(peer string) *Row {
	for i := range p.Rows {
		if p.Rows[i].Peer == peer {
			return &p.Rows[i]
		}
	}
	return nil
}

// Name tells points apart, in benchstat's key=value form.
func (p *Point) Name() string {
	cache := "warm"
	if p.Cold {
		cache = "cold"
	}
	return fmt.Sprintf("files=%d/size=%d/callers=%d/cache=%s/cpus=%d", p.Files, p.Size, p.Callers, cache, p.CPUs)
}

// Same reports whether q measured what p is for: only the ablation has a point with others' parameters.
func (p *Point) Same(q *Point) bool {
	ablation := func(p *Point) bool { return slices.Contains(p.Groups, GroupAblation) }
	return p.Name() == q.Name() && ablation(p) == ablation(q)
}

// Bytes is how much one GetChunks reads.
func (p *Point) Bytes() float64 { return p.FileBytes * float64(p.Files) }

// Stages is where one reader's CPU time goes, by a sampling profile of user and kernel side.
type Stages struct {
	Peer    string             `json:"peer"`
	Files   int                `json:"files"`
	Size    int                `json:"size"`
	Samples int                `json:"samples"`
	CPU     float64            `json:"cpu_us_per_chunk"`
	Share   map[string]float64 `json:"share"`             // of CPU, by stage
	Metrics map[string]float64 `json:"metrics,omitempty"` // chunkring's own: microseconds a chunk by stage
}

// The stages, in the order of a file's life.
const (
	StageOpen   = "open, close"
	StageSize   = "size"
	StageAlloc  = "allocate"
	StageZero   = "zero"
	StageFaults = "page faults"
	StageRead   = "read"
	StageCRC    = "CRC"
	StageDecode = "decode"
	StageGC     = "garbage collection"
	StageOther  = "scheduling, other"
)

// AllStages are the stages in that order.
var AllStages = []string{StageOpen, StageSize, StageAlloc, StageZero, StageFaults, StageRead, StageCRC, StageDecode, StageGC, StageOther}

// Disk is one run of fio on the files of a cold point.
type Disk struct {
	Name    string  `json:"name"`
	Command string  `json:"command"`
	Files   int     `json:"files"`
	Size    int     `json:"size"`
	MBps    float64 `json:"mb_per_s"`
}

// numberLists are lists of numbers: one line each is enough.
var numberLists = regexp.MustCompile(`\[[-+0-9.e,\s]+\]`)

// Load reads a run.
func Load(name string) (*Run, error) {
	return load[Run](name)
}

func load[T any](name string) (*T, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// Save writes v as JSON.
func Save(name string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	b = numberLists.ReplaceAllFunc(b, func(list []byte) []byte {
		return bytes.Join(bytes.Fields(list), nil)
	})
	// A program that is stopped halfway leaves the old file.
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
