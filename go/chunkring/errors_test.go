// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// mixed is a store with one chunk of each sort.
type mixed struct {
	dir                                string
	good, missing, damaged, folder     chunk.Chunk
	malformed, wrongTenant, dataLength chunk.Chunk
	droppedBlock                       chunk.Chunk
}

func newMixed(t testing.TB) *mixed {
	t.Helper()
	m := &mixed{dir: t.TempDir()}
	put := func(tenant string, edit func(p *chunkgen.Parts)) chunk.Chunk {
		s := forTenant(t, sampleNamed(t, "v4-snappy"), tenant)
		if edit != nil {
			p, err := chunkgen.Split(s.bytes)
			require.NoError(t, err)
			edit(p)
			s.bytes = p.Join()
			s.ref.Checksum = chunkgen.CRC(s.bytes)
		}
		place(t, m.dir, v13, s.ref, s.bytes)
		return s.ref
	}
	m.good = put("good", nil)
	m.missing = m.good
	m.missing.UserID = "missing"
	m.damaged = put("damaged", nil)
	name := filePath(m.dir, v13, m.damaged)
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(name, b, 0o644))
	m.folder = put("folder", nil)
	require.NoError(t, os.Remove(filePath(m.dir, v13, m.folder)))
	require.NoError(t, os.Mkdir(filePath(m.dir, v13, m.folder), 0o755))
	m.malformed = put("malformed", func(p *chunkgen.Parts) { p.Header[5] = 77 })
	m.dataLength = put("datalength", func(p *chunkgen.Parts) { p.DataLen-- })
	m.droppedBlock = put("dropped", func(p *chunkgen.Parts) { p.Blocks[1].CRC ^= 1 })
	m.wrongTenant = put("right", nil)
	right := filePath(m.dir, v13, m.wrongTenant)
	m.wrongTenant.UserID = "wrong"
	place(t, m.dir, v13, m.wrongTenant, must(os.ReadFile(right)))
	return m
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestErrorsSayWhat(t *testing.T) {
	m := newMixed(t)
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, m.dir, backend, v13)
		for _, e := range []struct {
			name     string
			chunk    chunk.Chunk
			is       []error
			reason   string
			notFound bool
		}{
			{"missing", m.missing, []error{fs.ErrNotExist}, "no such file", true},
			{"damaged", m.damaged, []error{chunk.ErrInvalidChecksum}, fmt.Sprintf("its name says %08x", m.damaged.Checksum), false},
			{"folder", m.folder, []error{chunkring.ErrNotRegular}, "not a regular file", false},
			{"malformed", m.malformed, []error{chunkring.ErrMalformed}, "codec", false},
			{"data length", m.dataLength, []error{chunk.ErrDataLength, chunkring.ErrMalformed}, "data length", false},
			{"another tenant's", m.wrongTenant, []error{chunk.ErrWrongMetadata}, chunk.ErrWrongMetadata.Error(), false},
		} {
			t.Run(e.name, func(t *testing.T) {
				out, err := c.GetChunks(context.Background(), []chunk.Chunk{e.chunk, m.good})
				require.Len(t, out, 1)
				require.Equal(t, m.good.ChunkRef, out[0].ChunkRef)
				for _, is := range e.is {
					require.ErrorIs(t, err, is)
				}
				for _, other := range append([]error{fs.ErrNotExist, chunkring.ErrMalformed, chunkring.ErrTooBig, chunkring.ErrRefused,
					chunkring.ErrNotRegular, chunkring.ErrPanic, chunkring.ErrStopped, context.Canceled}, sentinels...) {
					wanted := false
					for _, is := range e.is {
						wanted = wanted || is == other
					}
					require.Equal(t, wanted, errors.Is(err, other), "%v", other)
				}
				require.Equal(t, e.notFound, c.IsChunkNotFoundErr(err))
				require.False(t, c.IsRetryableErr(err))
				for _, part := range []string{"1 of 2 chunks failed", fmt.Sprintf("%q", v13.ExternalKey(e.chunk.ChunkRef)), filePath(m.dir, v13, e.chunk), e.reason} {
					require.Contains(t, err.Error(), part)
				}
				require.Equal(t, 1, strings.Count(err.Error(), filePath(m.dir, v13, e.chunk)), "the path once: %v", err)
				require.NotContains(t, err.Error(), "\n")
				var ce *chunkring.ChunkError
				require.ErrorAs(t, err, &ce)
				require.Equal(t, v13.ExternalKey(e.chunk.ChunkRef), ce.Key)
				require.Equal(t, filePath(m.dir, v13, e.chunk), ce.Path)
			})
		}
	})
}

func TestIsChunkNotFoundErr(t *testing.T) {
	m := newMixed(t)
	c := ring(t, m.dir, "", v13)
	s := stock(t, m.dir, v13)
	missing2 := m.missing
	missing2.UserID = "missing too"
	for _, e := range []struct {
		name  string
		batch []chunk.Chunk
		want  bool
	}{
		{"one missing", []chunk.Chunk{m.missing}, true},
		{"a good one and a missing one", []chunk.Chunk{m.good, m.missing}, true},
		{"two missing", []chunk.Chunk{m.missing, m.good, missing2}, true},
		{"damaged", []chunk.Chunk{m.damaged}, false},
		{"missing and damaged", []chunk.Chunk{m.missing, m.damaged}, false},
		{"damaged and missing", []chunk.Chunk{m.damaged, m.missing}, false},
		{"good", []chunk.Chunk{m.good}, false},
	} {
		_, err := c.GetChunks(context.Background(), e.batch)
		require.Equal(t, e.want, c.IsChunkNotFoundErr(err), e.name)
		if len(e.batch) == 1 { // of several, stock returns any one error
			_, err := s.GetChunks(context.Background(), e.batch)
			require.Equal(t, e.want, s.IsChunkNotFoundErr(err), e.name)
		}
	}
	_, err := c.GetChunks(context.Background(), []chunk.Chunk{m.missing})
	require.True(t, c.IsChunkNotFoundErr(fmt.Errorf("wrapped: %w", err)))
	require.False(t, c.IsChunkNotFoundErr(nil))
	require.False(t, c.IsChunkNotFoundErr(chunkring.ErrStopped))
	require.True(t, c.IsChunkNotFoundErr(fs.ErrNotExist))
}

func TestBatchErrorCounts(t *testing.T) {
	m := newMixed(t)
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, m.dir, backend, v13)
		var batch []chunk.Chunk
		for range 40 {
			batch = append(batch, m.good, m.damaged, m.missing)
		}
		batch = append(batch, m.folder)
		out, err := c.GetChunks(context.Background(), batch)
		require.Len(t, out, 40)
		var be *chunkring.BatchError
		require.ErrorAs(t, err, &be)
		require.Equal(t, 121, be.Requested)
		require.Len(t, be.Failed, 81)
		for i, f := range be.Failed[:80] { // in the order of the request
			want := []chunk.Chunk{m.damaged, m.missing}[i%2]
			require.Equal(t, v13.ExternalKey(want.ChunkRef), f.Key)
		}
		require.Contains(t, err.Error(), "81 of 121 chunks failed")
		require.Contains(t, err.Error(), "and 78 more")
	})
}

// Each chunk that failed has a line: its key, its path, the reason.
func TestFailuresAreLogged(t *testing.T) {
	m := newMixed(t)
	eachBackend(t, func(t *testing.T, backend string) {
		lines := &logLines{}
		c := ringWith(t, chunkring.Config{Directory: m.dir, Backend: backend}, v13, lines)
		requireLine := func(lvl, msg string, chk chunk.Chunk, reason string) {
			t.Helper()
			start := fmt.Sprintf("level=%s component=chunkring msg=%s key=%s path=%s err=", lvl, msg, v13.ExternalKey(chk.ChunkRef), filePath(m.dir, v13, chk))
			found := lines.with(start)
			require.Len(t, found, 1, start)
			require.Contains(t, found[0], reason)
		}
		var damaged []chunk.Chunk // more than an error's message shows
		for i := range 20 {
			s := forTenant(t, sampleNamed(t, "v4-snappy"), fmt.Sprintf("damaged-%d", i))
			s.bytes[len(s.bytes)/2] ^= 1
			place(t, m.dir, v13, s.ref, s.bytes)
			damaged = append(damaged, s.ref)
		}
		_, err := c.GetChunks(context.Background(), append([]chunk.Chunk{m.good, m.missing, m.folder, m.malformed}, damaged...))
		require.Error(t, err)
		for _, chk := range damaged {
			requireLine("error", "reading a chunk failed", chk, fmt.Sprintf("its name says %08x", chk.Checksum))
		}
		requireLine("error", "reading a chunk failed", m.folder, "not a regular file")
		requireLine("error", "reading a chunk failed", m.malformed, "codec")
		requireLine("warn", "reading a chunk failed", m.missing, "no such file")
		require.Len(t, lines.with("a chunk failed"), len(damaged)+3, "none of a good one")

		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = c.GetChunks(ctx, append(damaged, m.good))
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, lines.with("a chunk failed"), len(damaged)+3, "nor of a caller that gave up")
		require.Len(t, lines.with("level=debug component=chunkring msg=the caller gave up reading chunks chunks=21 err=context canceled"), 1)

		folder := m.folder // a folder is under the chunk's name
		require.NoError(t, folder.Decode(chunk.NewDecodeContext(), forTenant(t, sampleNamed(t, "v4-snappy"), "folder").bytes))
		require.Error(t, c.PutChunks(context.Background(), []chunk.Chunk{folder}))
		requireLine("error", "storing a chunk failed", m.folder, "is a directory")
		require.Error(t, c.DeleteChunk(context.Background(), m.folder.UserID, v13.ExternalKey(m.folder.ChunkRef)))
		requireLine("error", "deleting a chunk failed", m.folder, "is a directory")
		require.Error(t, c.DeleteChunk(context.Background(), m.missing.UserID, v13.ExternalKey(m.missing.ChunkRef)))
		requireLine("warn", "deleting a chunk failed", m.missing, "no such file")
	})
}

func TestLogLevels(t *testing.T) {
	m := newMixed(t)
	lines := &logLines{}
	c := ringWith(t, chunkring.Config{Directory: m.dir}, v13, level.NewFilter(log.Logger(lines), level.AllowError()))
	_, err := c.GetChunks(context.Background(), []chunk.Chunk{m.good, m.droppedBlock})
	require.NoError(t, err)
	require.Empty(t, lines.lines)
}
