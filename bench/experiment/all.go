// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
)

// partName is the file that a run keeps what it has in, after every point: half an hour of measuring must
// not be lost with its last minute.
func partName(o options) string { return filepath.Join(o.out, o.mode+".part.json") }

// measureAll measures what r has not got yet. A point that fails is left out, with the reason, and counted;
// the rest goes on. Only what makes all figures doubtful ends the run.
func (d *driver) measureAll(ctx context.Context, o options, p plan, r *result.Run) (failed int, err error) {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return 0, err
	}
	if o.resume {
		if err := d.resume(o, r); err != nil {
			return 0, err
		}
	}
	fio, err := exec.LookPath("fio")
	if err != nil {
		r.Left = append(r.Left, "fio: not installed, so the disk's own limit is missing")
	}
	if _, err := exec.LookPath("perf"); err != nil {
		r.Left = append(r.Left, "time by stage: perf is not installed")
	} else if len(r.Stages) == 0 {
		d.measureStages(ctx, p, r)
	}
	for i, s := range p {
		if slices.ContainsFunc(r.Points, func(q result.Point) bool { return q.Same(s.point()) }) {
			continue
		}
		err := d.onePoint(ctx, s, fmt.Sprintf("%d/%d %s", i+1, len(p), s.title()), r, fio != "")
		switch {
		case ctx.Err() != nil:
			return failed, fmt.Errorf("%w: -resume goes on with what is in %s", ctx.Err(), partName(o))
		case errors.Is(err, errDiffers), errors.Is(err, peers.ErrBackend):
			return failed, fmt.Errorf("%s: %w", s.title(), err)
		case err != nil:
			failed++
			fmt.Fprintf(os.Stderr, "experiment: %s: %v\n", s.title(), err)
			r.Left = append(r.Left, fmt.Sprintf("%s: %v", s.title(), err))
		}
		r.Minutes = time.Since(d.begin).Minutes()
		if err := result.Save(partName(o), r); err != nil {
			return failed, err
		}
	}
	return failed, nil
}

// resume takes over what an interrupted run of the same programs on the same machine measured.
func (d *driver) resume(o options, r *result.Run) error {
	old, err := result.Load(partName(o))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if old.Machine != r.Machine {
		return fmt.Errorf("%s is of another machine or commit (%+v, not %+v): remove it", partName(o), old.Machine, r.Machine)
	}
	fmt.Fprintf(os.Stderr, "experiment: going on with %d points of %s\n", len(old.Points), partName(o))
	d.begin = d.begin.Add(-time.Duration(old.Minutes * float64(time.Minute)))
	r.Begin, r.Points, r.Stages, r.Disk = old.Begin, old.Points, old.Stages, old.Disk
	return nil
}

// onePoint measures a point and, at a cold one, the disk.
func (d *driver) onePoint(ctx context.Context, s *spec, title string, r *result.Run, fio bool) error {
	if need, free := memoryNeed(s), memoryFree(); need > free {
		r.Left = append(r.Left, fmt.Sprintf("%s: its readers need %d MB, %d are free", s.title(), need>>20, free>>20))
		return nil
	}
	point, err := d.point(ctx, s, title)
	if err != nil {
		return err
	}
	if r.Mode == "full" { // the others are short
		point, err = calmer(point, func() (*result.Point, error) { return d.point(ctx, s, "once more "+s.title()) })
		if err != nil {
			return err
		}
	}
	r.Points = append(r.Points, *point)
	if !s.cold || !fio {
		return nil
	}
	disks, err := d.fio(ctx, s)
	if err != nil {
		r.Left = append(r.Left, fmt.Sprintf("the disk's own speed at %s: %v", s.title(), err))
	}
	r.Disk = append(r.Disk, disks...)
	return nil
}

// measureStages profiles every reader at some of the plan's points.
func (d *driver) measureStages(ctx context.Context, p plan, r *result.Run) {
	at, each := []spec{{files: 100, size: 900_000}, {files: 100, size: 235_000}, {files: 1000, size: 20_000}, {files: 1000, size: 4_000}}, 2*time.Second
	if r.Mode == "quick" {
		at, each = at[:1], time.Second
	}
	for _, s := range p {
		if !s.plainly(at) {
			continue
		}
		fmt.Fprintf(os.Stderr, "where the CPU time goes, by perf: %s ...\n", s.title())
		stages, err := d.stages(ctx, s, each)
		if err != nil {
			r.Left = append(r.Left, fmt.Sprintf("time by stage at %s: %v", s.title(), err))
		}
		r.Stages = append(r.Stages, stages...)
	}
}

// memoryNeed is what the readers' processes will have at their peak, about: twice the live heap each.
func memoryNeed(s *spec) int {
	const process = 120 << 20
	return len(s.peers) * (process + 2*(cacheBytes+s.files*s.size*s.callers))
}

func memoryFree() int {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		if value, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kb, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return kb << 10
		}
	}
	return 0
}
