// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"context"
	"fmt"
	"strings"
)

// Tally checks who really read the chunks.
type Tally struct {
	before     Metrics
	Downloaded int // chunks, says Loki
	Asked      int
	Bytes      float64 // of chunks that were read, since Begin, when End has returned
}

// Begin notes where the counters stand.
func (t *Tally) Begin(ctx context.Context, p *Proc) (err error) {
	t.before, err = p.Metrics(ctx)
	return err
}

// Add counts what Loki says it fetched.
func (t *Tally) Add(a Answer) {
	t.Downloaded += a.Downloaded
	t.Asked++
}

// End compares Loki's statistics with chunkring's metrics. Loki counts chunks that its cache had, too.
func (t *Tally) End(ctx context.Context, p *Proc, cache bool) (string, error) {
	m, err := p.Metrics(ctx)
	if err != nil {
		return "", err
	}
	delta := func(labels ...string) float64 {
		const name = "chunkring_chunks_total"
		return m.Sum(name, labels...) - t.before.Sum(name, labels...)
	}
	t.Bytes = p.chunkBytes(m) - p.chunkBytes(t.before)
	all, ok, backend := delta(`operation="read"`), delta(`operation="read"`, `result="ok"`), m.Backend()
	switch {
	case t.Downloaded == 0:
		return "", fmt.Errorf("%s read no chunks", p.Label)
	case p.Backend == "" && (all != 0 || backend != ""):
		return "", fmt.Errorf("%s read %v chunks with chunkring %s, and should not", p.Label, all, backend)
	case p.Backend == "":
		return fmt.Sprintf("%d chunks, Loki's own client", t.Downloaded), nil
	case p.Backend != "any" && backend != p.Backend, backend == "":
		return "", fmt.Errorf("%s: chunkring's back-end is %q, not %q", p.Label, backend, p.Backend)
	case all-ok > m.Sum("chunkring_chunks_total", `operation="read"`, `result="canceled"`):
		return "", fmt.Errorf("%s: chunkring could not read %v chunks", p.Label, all-ok)
	case !cache && ok < float64(t.Downloaded):
		return "", fmt.Errorf("%s: Loki read %d chunks, chunkring only %v", p.Label, t.Downloaded, ok)
	}
	return fmt.Sprintf("%d chunks, chunkring (%s) read %v", t.Downloaded, backend, ok), nil
}

// chunkBytes are the bytes of chunks that a Loki has read since its start: as chunkring counts them, which may have
// read parts of chunks, or as Loki does, whose own client reads them whole.
func (b Build) chunkBytes(m Metrics) float64 {
	if b.Backend != "" {
		return m.Sum("chunkring_bytes_total", `operation="read"`) + m.Sum("chunkring_block_bytes_read_total")
	}
	return m.Sum("loki_chunk_store_fetched_chunk_bytes_total")
}

// ServedBy names the client that reads and writes the chunks.
func ServedBy(m Metrics) string {
	if be := m.Backend(); be != "" {
		return "chunkring, " + be
	}
	return "Loki's own client"
}

// CheckPuts: what the ingester flushed went through chunkring, or not, as it should.
func CheckPuts(b Build, m Metrics) error {
	flushed, put := m.Sum("loki_ingester_chunks_flushed_total"), m.Sum("chunkring_chunks_total", `operation="put"`, `result="ok"`)
	switch {
	case b.Backend == "" && put != 0:
		return fmt.Errorf("%s wrote %v chunks with chunkring", b.Name, put)
	case b.Backend != "" && (put == 0 || put != flushed):
		return fmt.Errorf("%s flushed %v chunks, chunkring wrote %v", b.Name, flushed, put)
	}
	return nil
}

// CheckBlocks: the blocks that queries read, of which there are some, were iterated in place, or not, as
// the process's block path says, which must be the one that its flags ask for, or the highest that this
// Loki has. filtered: among the queries was one with a line filter that can be pushed down.
func CheckBlocks(b Build, m Metrics, filtered bool) error {
	path := b.blockPath()
	inPlace, pushDown := path == "in_place" || path == "filter", path == "filter"
	if there, known := m[`chunkring_parts_info{part="iterator"}`]; inPlace && known && there == 0 { // this Loki has none
		path, inPlace, pushDown = "decompress", false, false
	}
	if inUse := m.Sum("chunkring_block_path_info", `level="`+path+`"`); (inUse == 1) != (path != "") {
		return fmt.Errorf("%s: block path %q is not in use", b.Name, path)
	}
	blocks, dropped := m.Sum("chunkring_blocks_iterated_total"), m.Sum("chunkring_block_lines_dropped_total")
	left := m.Sum("chunkring_blocks_left_total")
	for _, reason := range []string{"damaged", "unsure"} { // the others are what a limit is for
		left += m.Sum("chunkring_block_fallbacks_total", `reason="`+reason+`"`)
	}
	switch {
	case inPlace != (blocks > 0):
		return fmt.Errorf("%s iterated %v blocks in place (block path %q)", b.Name, blocks, path)
	case dropped > 0 && !pushDown, dropped == 0 && pushDown && filtered:
		return fmt.Errorf("%s dropped %v lines before the pipeline (block path %q)", b.Name, dropped, path)
	case left > 0:
		return fmt.Errorf("%s left %v sound blocks to Loki's own readers", b.Name, left)
	}
	return nil
}

// blockPath is the block path that the process's flags ask for, "" for an unpatched Loki.
func (b Build) blockPath() string {
	if !b.Patched {
		return ""
	}
	path := "filter"
	for _, arg := range b.Args {
		if p, ok := strings.CutPrefix(arg, "-store.chunkring.block-path="); ok {
			path = p
		}
	}
	return path
}
