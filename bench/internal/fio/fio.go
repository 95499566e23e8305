// SPDX-License-Identifier: Apache-2.0

// Package fio asks fio for what the disk gives.
package fio

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// Block is a block of about 128 KB at most of which a file has a whole number, nearly: fio leaves out
// what is less than a block at the end of a file. (A disk of 4096-byte sectors refuses the smallest.)
func Block(size int) int {
	const most, page, sector = 128 << 10, 4096, 512
	block := size / ((size + most - 1) / most)
	if block >= 8*page {
		return block / page * page
	}
	return max(sector, block/sector*sector)
}

// Run starts fio with these arguments, which ask for JSON, and returns the speed of its one job.
func Run(ctx context.Context, args []string) (mbps float64, err error) {
	cmd := exec.CommandContext(ctx, "fio", args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("fio: %w: %s", err, complaint.String())
	}
	return parse(out)
}

func parse(out []byte) (mbps float64, err error) {
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
