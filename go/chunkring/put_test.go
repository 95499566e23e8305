// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// decoded are good samples as a writer has them: with data.
func decoded(t testing.TB) []chunk.Chunk {
	t.Helper()
	var all []chunk.Chunk
	for _, s := range goodSamples() {
		if strings.Contains(s.name, "zstd") || strings.Contains(s.name, "lz4") {
			continue
		}
		require.NoError(t, s.ref.Decode(chunk.NewDecodeContext(), s.bytes))
		all = append(all, s.ref)
	}
	return all
}

func refs(chunks []chunk.Chunk) []chunk.Chunk {
	var all []chunk.Chunk
	for _, c := range chunks {
		all = append(all, chunk.Chunk{ChunkRef: c.ChunkRef})
	}
	return all
}

// tree lists a store: names, modes, contents.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		content := ""
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = fmt.Sprintf("%d %x", len(b), chunkgen.CRC(b))
		}
		rel, err := filepath.Rel(dir, path)
		all[rel] = fmt.Sprintf("%v %s", fi.Mode(), content)
		return err
	}))
	return all
}

// What one client puts the other reads, and both leave the same tree: names, modes, bytes.
func TestPutLikeStock(t *testing.T) {
	from := int64(goodSamples()[0].ref.From)
	for name, schema := range map[string]config.SchemaConfig{
		"v11": chunkgen.Schema("v11"), "v13": chunkgen.Schema("v13"),
		"v11 then v13": periods(t, map[int64]string{0: "v11", from + 1000: "v13"}),
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := t.TempDir(), t.TempDir()
			r, s := ring(t, ours, "", schema), stock(t, theirs, schema)
			chunks := decoded(t)
			require.NoError(t, r.PutChunks(context.Background(), chunks))
			require.NoError(t, s.PutChunks(context.Background(), chunks))
			require.Equal(t, tree(t, theirs), tree(t, ours))

			want := byKey(t, chunks)
			crossed, err := stock(t, ours, schema).GetChunks(context.Background(), refs(chunks))
			require.NoError(t, err)
			require.Equal(t, want, byKey(t, crossed))
			crossed, err = ring(t, theirs, "", schema).GetChunks(context.Background(), refs(chunks))
			require.NoError(t, err)
			requireAnswer(t, want, chunks, crossed)

			require.NoError(t, r.PutChunks(context.Background(), chunks), "again over the old ones")
			require.Equal(t, tree(t, theirs), tree(t, ours))
			require.NoError(t, r.PutChunks(context.Background(), nil))
		})
	}
}

// What GetChunks would refuse for its size is not stored, the rest of the batch is; one limit for both.
func TestPutTooBig(t *testing.T) {
	chunks := decoded(t)
	slices.SortFunc(chunks, func(a, b chunk.Chunk) int { return len(encoded(t, &a)) - len(encoded(t, &b)) })
	limit := len(encoded(t, &chunks[len(chunks)/2]))
	fits := func(c chunk.Chunk) bool { return len(encoded(t, &c)) <= limit }
	biggest := chunks[len(chunks)-1]
	require.False(t, fits(biggest))
	eachBackend(t, func(t *testing.T, backend string) {
		dir := t.TempDir()
		c := ringWith(t, chunkring.Config{Directory: dir, Backend: backend, MaxChunkBytes: limit}, v13, nil)
		err := c.PutChunks(context.Background(), slices.Clone(chunks))
		require.ErrorIs(t, err, chunkring.ErrTooBig)
		var be *chunkring.BatchError
		require.ErrorAs(t, err, &be)
		var good []chunk.Chunk
		for _, chk := range chunks {
			if fits(chk) {
				good = append(good, chk)
			}
		}
		require.Len(t, be.Failed, len(chunks)-len(good))
		last := be.Failed[len(be.Failed)-1].Error()
		for _, part := range []string{v13.ExternalKey(biggest.ChunkRef), fmt.Sprintf("%d bytes", len(encoded(t, &biggest))),
			fmt.Sprintf("max_chunk_bytes is %d", limit)} {
			require.Contains(t, last, part)
		}
		require.NoFileExists(t, filePath(dir, v13, biggest))

		out, err := c.GetChunks(context.Background(), refs(good)) // the largest of them is as large as it may be
		require.NoError(t, err)
		requireAnswer(t, byKey(t, good), good, out)
		require.NoError(t, stock(t, dir, v13).PutChunks(context.Background(), []chunk.Chunk{biggest}))
		_, err = c.GetChunks(context.Background(), refs([]chunk.Chunk{biggest}))
		require.ErrorIs(t, err, chunkring.ErrTooBig)
	})
}

// A chunk that was not encoded yet gets its checksum, and so its name, by PutChunks.
func TestPutEncodes(t *testing.T) {
	dir := t.TempDir()
	c := ring(t, dir, "", v13)
	for _, d := range decoded(t)[:3] {
		fresh := chunk.NewChunk(d.UserID, 0, d.Metric, d.Data, d.From, d.Through)
		fresh.Fingerprint = d.Fingerprint
		batch := []chunk.Chunk{fresh}
		require.NoError(t, c.PutChunks(context.Background(), batch))
		require.NotZero(t, batch[0].Checksum)
		out, err := c.GetChunks(context.Background(), refs(batch))
		require.NoError(t, err)
		require.Empty(t, difference(viewOf(t, batch[0]), viewOf(t, out[0])))
	}
}

// Some of a batch can't be stored: the others are, and the error says which are not.
func TestPutPartly(t *testing.T) {
	dir := t.TempDir()
	lines := &logLines{}
	c := ringWith(t, chunkring.Config{Directory: dir}, v13, lines)
	chunks := decoded(t)[:8]
	// Each its own fingerprint, so its own folder: a file in the place of two of them.
	for i := range chunks {
		s := forTenant(t, sample{"", chunk.Chunk{ChunkRef: chunks[i].ChunkRef}, encoded(t, &chunks[i])}, fmt.Sprintf("t%d", i))
		require.NoError(t, s.ref.Decode(chunk.NewDecodeContext(), s.bytes))
		chunks[i] = s.ref
	}
	for _, i := range []int{2, 5} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, chunks[i].UserID), nil, 0o644))
	}
	err := c.PutChunks(context.Background(), chunks)
	var be *chunkring.BatchError
	require.ErrorAs(t, err, &be)
	require.ErrorIs(t, err, syscall.ENOTDIR)
	require.Equal(t, 8, be.Requested)
	require.Len(t, be.Failed, 2)
	require.Equal(t, v13.ExternalKey(chunks[2].ChunkRef), be.Failed[0].Key)
	require.Equal(t, v13.ExternalKey(chunks[5].ChunkRef), be.Failed[1].Key)
	require.Equal(t, filePath(dir, v13, chunks[5]), be.Failed[1].Path)
	require.Equal(t, 1, strings.Count(be.Failed[0].Error(), be.Failed[0].Path), be.Failed[0].Error())
	require.Len(t, lines.with("storing a chunk failed"), 2)
	good := slices.Concat(chunks[:2], chunks[3:5], chunks[6:])
	out, err := c.GetChunks(context.Background(), refs(good))
	require.NoError(t, err)
	requireAnswer(t, byKey(t, good), good, out)

	// Tenants that would leave the store write nothing.
	for _, tenant := range []string{"..", "../x", "a/../b", "", "."} {
		s := forTenant(t, sampleNamed(t, "v4-one-entry"), tenant)
		require.NoError(t, s.ref.Decode(chunk.NewDecodeContext(), s.bytes))
		before := tree(t, filepath.Dir(dir))
		require.Error(t, c.PutChunks(context.Background(), []chunk.Chunk{s.ref}))
		require.Error(t, c.DeleteChunk(context.Background(), tenant, v13.ExternalKey(s.ref.ChunkRef)))
		require.Equal(t, before, tree(t, filepath.Dir(dir)), "tenant %q", tenant)
	}
}

// The same deletes on the same store, by us and by stock: the same tree and class of error.
func TestDeleteLikeStock(t *testing.T) {
	for _, version := range []string{"v11", "v13"} {
		schema := chunkgen.Schema(version)
		ours, theirs := t.TempDir(), t.TempDir()
		r, s := ring(t, ours, "", schema), stock(t, theirs, schema)
		chunks := decoded(t)
		for _, c := range []client.Client{r, s} {
			require.NoError(t, c.PutChunks(context.Background(), chunks))
		}
		both := func(userID, chunkID string) (error, error) {
			ourErr, theirErr := r.DeleteChunk(context.Background(), userID, chunkID), s.DeleteChunk(context.Background(), userID, chunkID)
			require.Equal(t, theirErr == nil, ourErr == nil, "%s %s: stock %v, we %v", userID, chunkID, theirErr, ourErr)
			require.Equal(t, s.IsChunkNotFoundErr(theirErr), r.IsChunkNotFoundErr(ourErr), "%s %s: stock %v, we %v", userID, chunkID, theirErr, ourErr)
			require.Equal(t, tree(t, theirs), tree(t, ours))
			return ourErr, theirErr
		}
		for i, c := range chunks {
			if i%3 == 0 {
				continue
			}
			key := schema.ExternalKey(c.ChunkRef)
			err, _ := both(c.UserID, key)
			require.NoError(t, err)
			err, _ = both(c.UserID, key) // not there any more
			require.True(t, r.IsChunkNotFoundErr(err))
			require.ErrorContains(t, err, fmt.Sprintf("%q", key))
			require.ErrorContains(t, err, filePath(ours, schema, c))
		}
		key := schema.ExternalKey(chunks[0].ChunkRef)
		for _, odd := range [][2]string{{"other", key}, {"", key}, {"fake", ""}, {"fake", "garbage"}, {"fake", "fake/x"}, {"fake", "fake/1:2:3:4"},
			{"fake", "fake/1/2:3:4"}, {"fake", "fake/zz/2:3:4"}, {"nobody", "nobody/1/2:3:4"}, {"fake", key + "z"}} {
			both(odd[0], odd[1])
		}
		for i, c := range chunks {
			if i%3 == 0 {
				err, _ := both(c.UserID, schema.ExternalKey(c.ChunkRef))
				require.NoError(t, err)
			}
		}
		require.Empty(t, tree(t, ours), "empty folders go, the store itself stays")
		require.DirExists(t, ours)
	}
}

// Readers of a chunk that is put again and again never see an error, from either client's view.
func TestPutAgainUnderReaders(t *testing.T) {
	dir := t.TempDir()
	chunks := decoded(t)[:4]
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		c := ring(t, dir, backend, v13)
		require.NoError(t, c.PutChunks(context.Background(), chunks))
		want := byKey(t, chunks)
		stop := make(chan struct{})
		var readers, writers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				requested := refs(slices.Concat(chunks, chunks, chunks))
				for {
					select {
					case <-stop:
						return
					default:
					}
					out, err := c.GetChunks(context.Background(), requested)
					if !checkAnswer(t, want, requested, out, err) {
						return
					}
				}
			})
		}
		for range 2 {
			mine := slices.Clone(chunks)
			writers.Go(func() {
				for range 15 {
					if err := c.PutChunks(context.Background(), mine); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		close(stop)
		readers.Wait()
		for name := range tree(t, dir) {
			require.NotContains(t, name, ".tmp")
		}
	})
}

// Put, delete and read of the same chunk from many sides: never an error but not-found, never a
// torn or wrong chunk; a put is never broken by the delete that removes its folder.
func TestPutAndDeleteAtOnce(t *testing.T) {
	dir := t.TempDir()
	c := ring(t, dir, "", v13)
	noLeaks(t)
	c1 := decoded(t)[0]
	want := byKey(t, []chunk.Chunk{c1})
	key := v13.ExternalKey(c1.ChunkRef)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			mine := []chunk.Chunk{c1}
			for range 40 {
				if err := c.PutChunks(context.Background(), mine); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 40 {
				if err := c.DeleteChunk(context.Background(), c1.UserID, key); err != nil && !c.IsChunkNotFoundErr(err) {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 40 {
				out, err := c.GetChunks(context.Background(), refs([]chunk.Chunk{c1}))
				if err != nil {
					if !c.IsChunkNotFoundErr(err) || !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
					continue
				}
				checkAnswer(t, want, []chunk.Chunk{c1}, out, nil)
			}
		})
	}
	wg.Wait()
	require.NoError(t, c.PutChunks(context.Background(), []chunk.Chunk{c1}))
	require.NoError(t, c.DeleteChunk(context.Background(), c1.UserID, key))
	require.Empty(t, tree(t, dir))
}
