// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// s3 compares Lokis whose chunks lie in an S3 bucket, where chunkring has no client and only the block
// path is its own: at each of its levels, without a chunk cache, with the embedded one, and in the process
// that wrote the chunks, after it flushed them. No Loki of this phase has a filesystem store.
func (t *test) s3(ctx context.Context) error {
	gw, err := t.startGateway(ctx, t.stockLoki.Name, t.s3Builds()[1].Name) // a bucket for each writer
	if err != nil {
		return fmt.Errorf("S3 server: %w", err)
	}
	defer gw.Kill()
	if err := t.s3Write(ctx, gw); err != nil {
		return fmt.Errorf("S3, written and flushed: %w", err)
	}
	for _, cacheMB := range []int{0, 100} {
		if err := t.s3Read(ctx, gw, cacheMB); err != nil {
			return fmt.Errorf("S3, chunk cache of %d MB: %w", cacheMB, err)
		}
	}
	return nil
}

// s3Builds are stock and ours at each level of the block path.
func (t *test) s3Builds() []lokiproc.Build {
	builds := []lokiproc.Build{t.stockLoki}
	for _, path := range []string{"filter", "in_place", "decompress", "off"} {
		b := t.oursLoki
		b.Name, b.Backend = path, "" // no client of chunkring's
		if !t.self {
			b.Args = append(slices.Clone(b.Args), "-store.chunkring.block-path="+path)
		}
		builds = append(builds, b)
	}
	return builds
}

// s3Write has stock and ours write a tenant a codec each, and compares their answers once all is flushed.
func (t *test) s3Write(ctx context.Context, gw *lokiproc.Service) error {
	for _, codec := range t.codecs {
		var procs []*lokiproc.Proc
		for _, b := range t.s3Builds()[:2] {
			cfg := lokiproc.Config{S3: gw.Address, Bucket: b.Name, Codec: codec, Name: b.Name + "-" + codec}
			p, err := t.Start(ctx, b, "s3 write "+b.Name+" "+codec, cfg)
			if err != nil {
				return err
			}
			if err := lokiproc.Push(ctx, p, codec, t.corpus.pushBatches(3000, 0, 1)); err != nil {
				return err
			}
			if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
				return err
			}
			if err := t.servesAll(ctx, p, codec); err != nil {
				return err
			}
			procs = append(procs, p)
		}
		if err := t.sameAll(ctx, procs, codec, chunkQueries()); err != nil {
			return err
		}
		for _, p := range procs {
			if err := t.s3Done(ctx, p, 0); err != nil {
				return err
			}
		}
	}
	t.say("S3: stock and ours wrote %d tenants each, and gave equal answers once all was flushed", len(t.codecs))
	return nil
}

// servesAll waits until a Loki finds all that was pushed: a chunk that was flushed a moment ago is not in the
// index at once.
func (t *test) servesAll(ctx context.Context, p *lokiproc.Proc, tenant string) error {
	count := countAll()
	return p.Poll(ctx, time.Minute, "serve all lines", func() (bool, error) {
		a, err := lokiproc.Ask(ctx, p, tenant, count)
		if err != nil {
			return false, nil // an empty answer is an error, too
		}
		n, err := lokiproc.VectorValue(a.Text)
		return n == t.corpus.lines, err
	})
}

// chunkQueries are those whose answers don't depend on how two writers cut the same lines into chunks.
func chunkQueries() (some []lokiproc.Query) {
	for _, q := range queries() {
		if q.Chunks && !q.Unordered {
			some = append(some, q)
		}
	}
	return some
}

// s3Read has all Lokis answer everything over the bucket that stock wrote; with a cache twice, so that the
// second answers are made from what the first left there.
func (t *test) s3Read(ctx context.Context, gw *lokiproc.Service, cacheMB int) error {
	n, rounds := t.compared, 1
	if cacheMB > 0 {
		rounds = 2
	}
	var procs []*lokiproc.Proc
	for _, b := range t.s3Builds() {
		p, err := t.Launch(b, fmt.Sprintf("s3 read %s cache %d", b.Name, cacheMB), lokiproc.Config{S3: gw.Address, Bucket: t.stockLoki.Name, CacheMB: cacheMB})
		if err != nil {
			return err
		}
		procs = append(procs, p)
	}
	if err := ready(ctx, procs); err != nil {
		return err
	}
	for range rounds {
		for _, codec := range t.codecs {
			if err := t.sameAll(ctx, procs, codec, queries()); err != nil {
				return err
			}
		}
	}
	t.say("S3: %d answers equal to stock's, chunk cache of %d MB", t.compared-n, cacheMB)
	for _, p := range procs {
		if err := t.s3Done(ctx, p, cacheMB); err != nil {
			return err
		}
	}
	return nil
}

// s3Done checks by the metrics who did what, and ends the process.
func (t *test) s3Done(ctx context.Context, p *lokiproc.Proc, cacheMB int) error {
	m, err := p.Metrics(ctx)
	if err != nil {
		return err
	}
	hits := m.Sum("loki_cache_hits", `name="chunks`)
	verified, left := m.Sum("chunkring_chunks_verified_total", `result="sound"`), m.Sum("chunkring_chunks_verified_total", `result="left"`)
	t.say("    %-24s chunks out of the cache %v, checked in one pass %v; blocks decompressed %v, iterated in place %v; lines dropped %v", p.Label, hits, verified,
		m.Sum("chunkring_blocks_decompressed_total"), m.Sum("chunkring_blocks_iterated_total"), m.Sum("chunkring_block_lines_dropped_total"))
	switch be := m.Backend(); {
	case be != "" || m.Sum("chunkring_chunks_total") > 0:
		return fmt.Errorf("%s: chunkring's client (%s) is over a bucket", p.Label, be)
	case (verified > 0) != (p.Patched && p.Name != "off"), left > 0:
		return fmt.Errorf("%s: %v sound chunks were checked in one pass, and %v left to Loki's own checks", p.Label, verified, left)
	case (hits > 0) != (cacheMB > 0):
		return fmt.Errorf("%s: %v chunks came out of a cache of %d MB", p.Label, hits, cacheMB)
	}
	if err := lokiproc.CheckBlocks(p.Build, m, true); err != nil {
		return err
	}
	return p.Stop()
}

// startGateway starts an S3 server over a folder on 127.0.0.1.
func (t *test) startGateway(ctx context.Context, buckets ...string) (*lokiproc.Service, error) {
	for _, b := range buckets {
		if err := os.MkdirAll(filepath.Join(t.s3Dir(), b), 0o777); err != nil {
			return nil, err
		}
	}
	ports, err := lokiproc.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	gw, err := t.StartService(ctx, "s3", address, t.s3Server, "--port", address, "--access", lokiproc.S3AccessKey,
		"--secret", lokiproc.S3SecretKey, "--region", lokiproc.S3Region, "--keep-alive", "--quiet", "posix", t.s3Dir())
	if err != nil {
		return nil, fmt.Errorf("%w; make test-e2e-s3 and make test-objects build it", err)
	}
	return gw, nil
}

// s3Dir has a folder for each bucket, and in it a file for each object.
func (t *test) s3Dir() string { return filepath.Join(t.Root, "s3") }
