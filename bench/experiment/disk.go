// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/chunkring/chunkring/bench/internal/result"
)

// fioRuns are what fio is asked for: what the disk gives without page cache, and what plain reads one after
// the other get through it.
var fioRuns = []struct {
	name string
	args []string
}{
	{"O_DIRECT, depth 64", []string{"--direct=1", "--ioengine=io_uring", "--iodepth=64"}},
	{"page cache, one after the other", []string{"--direct=0", "--ioengine=psync"}},
}

const fioTries = 3

// fio reads a cold point's files with fio, the best of some tries each: that is the disk's limit.
func (d *driver) fio(ctx context.Context, s *spec) (disks []result.Disk, err error) {
	x := d.stores[s.size]
	// fio takes a folder, or no more names than fit in 4096 bytes: links to these files, then.
	links, err := os.MkdirTemp(filepath.Dir(x.Dir()), "fio-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(links)
	smallest := x.Refs[0].Size
	for i, r := range x.Refs[:s.files] {
		smallest = min(smallest, r.Size)
		if err := os.Link(x.Path(r), filepath.Join(links, strconv.Itoa(i))); err != nil {
			return nil, err
		}
	}
	for _, run := range fioRuns {
		args := append([]string{"--name=cold", "--readonly", "--rw=read", "--file_service_type=sequential", "--output-format=json", fmt.Sprintf("--bs=%d", fioBlock(smallest))}, run.args...)
		disk := result.Disk{Name: run.name, Command: "fio " + strings.Join(args, " ") + " --opendir=FILES", Files: s.files, Size: s.size}
		for range fioTries {
			if err := makeCold(x); err != nil {
				return nil, err
			}
			mbps, err := runFio(ctx, append(args, "--opendir="+links))
			if err != nil {
				return nil, err
			}
			disk.MBps = max(disk.MBps, mbps)
		}
		disks = append(disks, disk)
	}
	return disks, nil
}

// fioBlock is a block of about 128 KB at most of which a file has a whole number, nearly: fio leaves out
// what is less than a block at the end of a file. (A disk of 4096-byte sectors refuses the smallest.)
func fioBlock(size int) int {
	const most, page, sector = 128 << 10, 4096, 512
	block := size / ((size + most - 1) / most)
	if block >= 8*page {
		return block / page * page
	}
	return max(sector, block/sector*sector)
}

func runFio(ctx context.Context, args []string) (mbps float64, err error) {
	cmd := exec.CommandContext(ctx, "fio", args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("fio: %w: %s", err, complaint.String())
	}
	return parseFio(out)
}

func parseFio(out []byte) (mbps float64, err error) {
	var doc struct {
		Jobs []struct {
			Error int
			Read  struct {
				Bandwidth float64 `json:"bw_bytes"`
			}
		}
	}
	// fio may print notes before its JSON.
	if i := strings.IndexByte(string(out), '{'); i > 0 {
		out = out[i:]
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return 0, fmt.Errorf("fio's output: %w", err)
	}
	if len(doc.Jobs) != 1 || doc.Jobs[0].Error != 0 || doc.Jobs[0].Read.Bandwidth <= 0 {
		return 0, fmt.Errorf("fio failed: %s", out)
	}
	return doc.Jobs[0].Read.Bandwidth / 1e6, nil
}
