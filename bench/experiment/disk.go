// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/chunkring/chunkring/bench/internal/fio"
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
		args := append([]string{"--name=cold", "--readonly", "--rw=read", "--file_service_type=sequential", "--output-format=json", fmt.Sprintf("--bs=%d", fio.Block(smallest))}, run.args...)
		disk := result.Disk{Name: run.name, Command: "fio " + strings.Join(args, " ") + " --opendir=FILES", Files: s.files, Size: s.size}
		for range fioTries {
			if err := d.makeCold(x); err != nil {
				return nil, err
			}
			mbps, err := fio.Run(ctx, append(args, "--opendir="+links))
			if err != nil {
				return nil, err
			}
			disk.MBps = max(disk.MBps, mbps)
		}
		disks = append(disks, disk)
	}
	return disks, nil
}
