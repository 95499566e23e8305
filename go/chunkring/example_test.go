// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/logql/log"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

func Example() {
	dir, refs, remove := exampleDir()
	defer remove()
	ctx := context.Background()

	schema := config.SchemaConfig{Configs: []config.PeriodConfig{{Schema: "v13"}}} // as in Loki's schema_config
	c, err := chunkring.New(chunkring.Config{Directory: dir}, schema, nil, nil)    // no logger, no metrics
	if err != nil {
		panic(err)
	}
	defer c.Stop()

	chunks, err := c.GetChunks(ctx, refs) // good chunks in order, also when others failed
	for _, chk := range chunks {
		fmt.Println(chk.Metric.Get("pod"), chk.Data.Entries(), "lines")
	}
	var failed *chunkring.BatchError // with key, path and cause of each
	if errors.As(err, &failed) {
		fmt.Println(len(failed.Failed), "of", failed.Requested, "chunks failed")
	}
	// Output:
	// pod-0 2 lines
	// pod-1 2 lines
	// pod-2 2 lines
}

func ExampleNew() {
	dir, err := os.MkdirTemp("", "chunkring-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	// Of a schema only the version counts, and when it began: they say how files are named.
	schema := config.SchemaConfig{Configs: []config.PeriodConfig{{Schema: "v13"}}}
	// Without Backend a client takes io_uring, or threads where the system refuses it.
	cfg := chunkring.Config{Directory: dir, Backend: chunkring.BackendThreads}
	c, err := chunkring.New(cfg, schema, nil, nil) // no logger, no metrics
	if err != nil {
		panic(err)
	}
	defer c.Stop()

	fmt.Println(c.Backend())
	// Output: threads
}

func ExampleClient_GetChunks() {
	c, refs, remove := exampleStore()
	defer remove()
	ctx := context.Background()
	if err := c.DeleteChunk(ctx, "fake", exampleKey(refs[1])); err != nil {
		panic(err)
	}

	// A reference is enough: labels and lines come from the file.
	chunks, err := c.GetChunks(ctx, refs)
	for _, chk := range chunks {
		fmt.Println(chk.Metric.Get("pod"), chk.Data.Entries(), "lines")
	}
	var batch *chunkring.BatchError
	if errors.As(err, &batch) {
		fmt.Println(len(batch.Failed), "of", batch.Requested, "failed")
	}
	fmt.Println("a chunk is missing:", errors.Is(err, fs.ErrNotExist))
	fmt.Println("a chunk is damaged:", errors.Is(err, chunk.ErrInvalidChecksum))
	// Output:
	// pod-0 2 lines
	// pod-2 2 lines
	// 1 of 3 failed
	// a chunk is missing: true
	// a chunk is damaged: false
}

// The log lines of a chunk file.
func ExampleClient_GetChunks_lines() {
	c, refs, remove := exampleStore()
	defer remove()
	ctx := context.Background()
	fingerprint, name := exampleFile(refs[1])

	// TENANT/FINGERPRINT/NAME is a chunk's file; NAME is base64 of FROM:THROUGH:CRC32C.
	times, err := base64.StdEncoding.DecodeString(name)
	if err != nil {
		panic(err)
	}
	ref, err := chunk.ParseExternalKey("fake", "fake/"+fingerprint+"/"+string(times))
	if err != nil {
		panic(err)
	}
	chunks, err := c.GetChunks(ctx, []chunk.Chunk{ref})
	if err != nil {
		panic(err)
	}
	chk := chunks[0]
	lines, err := chk.Data.(*chunkenc.Facade).LokiChunk().Iterator(ctx, chk.From.Time(), chk.Through.Time().Add(time.Millisecond),
		logproto.FORWARD, log.NewNoopPipeline().ForStream(chk.Metric))
	if err != nil {
		panic(err)
	}
	defer lines.Close()
	for lines.Next() {
		fmt.Println(chk.Metric.Get("pod"), lines.At().Line)
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
	// Output:
	// pod-1 started
	// pod-1 ready
}

func ExampleClient_GetChunksPooled() {
	c, refs, remove := exampleStore()
	defer remove()

	batch, err := c.GetChunksPooled(context.Background(), refs)
	// Also after an error. From then on nothing of a chunk may be used: its bytes are the next batch's.
	defer batch.Release()
	if err != nil {
		panic(err)
	}

	lines := 0
	for _, chk := range batch.Chunks {
		lines += chk.Data.Entries()
	}
	fmt.Println(len(batch.Chunks), "chunks with", lines, "lines")
	// Output: 3 chunks with 6 lines
}

// exampleStore makes a store, and opens it. It returns a client, and the references that Loki's index would give.
func exampleStore() (c *chunkring.Client, refs []chunk.Chunk, remove func()) {
	dir, refs, removeDir := exampleDir()
	c, err := chunkring.New(chunkring.Config{Directory: dir}, v13, nil, nil)
	if err != nil {
		panic(err)
	}
	return c, refs, func() {
		c.Stop()
		removeDir()
	}
}

// exampleDir makes a store of three chunks with two lines each.
func exampleDir() (dir string, refs []chunk.Chunk, remove func()) {
	dir, err := os.MkdirTemp("", "chunkring-example-")
	if err != nil {
		panic(err)
	}
	c, err := chunkring.New(chunkring.Config{Directory: dir}, v13, nil, nil)
	if err != nil {
		panic(err)
	}
	defer c.Stop()
	begin := time.Date(2024, 3, 12, 10, 0, 0, 0, time.UTC)
	lines := []logproto.Entry{{Timestamp: begin, Line: "started"}, {Timestamp: begin.Add(time.Second), Line: "ready"}}
	for i := range 3 {
		stream := chunkgen.Stream{Tenant: "fake", Labels: labels.FromStrings("pod", fmt.Sprintf("pod-%d", i))}
		enc := chunkgen.Encoding{Format: 4, Codec: compression.Snappy, BlockBytes: chunkgen.BlockBytes}
		chk, err := chunkgen.Build(stream, enc, slices.Values(lines))
		if err != nil {
			panic(err)
		}
		if err := c.PutChunks(context.Background(), []chunk.Chunk{chk}); err != nil {
			panic(err)
		}
		refs = append(refs, chunk.Chunk{ChunkRef: chk.ChunkRef})
	}
	return dir, refs, func() { _ = os.RemoveAll(dir) }
}

// exampleKey is what Loki's index and its compactor call a chunk.
func exampleKey(ref chunk.Chunk) string { return v13.ExternalKey(ref.ChunkRef) }

// exampleFile is a chunk's folder below its tenant's, and the name of its file.
func exampleFile(ref chunk.Chunk) (fingerprint, name string) {
	parts := strings.Split(exampleKey(ref), "/")
	return parts[1], base64.StdEncoding.EncodeToString([]byte(parts[2]))
}
