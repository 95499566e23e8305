// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkcheck"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// repaired gives a damaged chunk file the right data length and section checksums, so that what was
// damaged inside is reached. The outer checksum is in the file's name.
func repaired(file []byte) []byte {
	file = bytes.Clone(file)
	if len(file) < 8 {
		return file
	}
	at := int(binary.BigEndian.Uint32(file)) + 4
	if at < 8 || at > len(file) {
		return file
	}
	data := file[at:]
	binary.BigEndian.PutUint32(file[at-4:], uint32(len(data)))
	n := uint64(len(data))
	fix := func(off, size uint64) {
		if off <= n && size <= n-off && n-off-size >= 4 {
			binary.BigEndian.PutUint32(data[off+size:], chunkgen.CRC(data[off:off+size]))
		}
	}
	word := func(back uint64) uint64 { return binary.BigEndian.Uint64(data[n-back:]) }
	switch {
	case n >= 32 && data[4] == 4:
		fix(word(24), word(32))
		fix(word(8), word(16))
	case n >= 12 && data[4] < 4:
		fix(word(8), n-12-word(8))
	}
	return file
}

// FuzzClientAgainstStock: any bytes under a name that goes with them. What we return has stock's
// entries; what stock could return we do too, but for what Check refuses on purpose; nothing panics.
// Stock itself hangs or takes all memory on some files, so it is asked only where Check passes.
func FuzzClientAgainstStock(f *testing.F) {
	for _, files := range []string{filepath.Join(goodDir, "*.chunk"), filepath.Join(badDir, "*", "*.chunk")} {
		names, err := filepath.Glob(files)
		require.NoError(f, err)
		require.NotEmpty(f, names)
		for _, name := range names {
			b, err := os.ReadFile(name)
			require.NoError(f, err)
			if len(b) < 8<<10 {
				f.Add(true, b)
			}
		}
	}
	dir := f.TempDir()
	var clients []*chunkring.Client
	for _, backend := range []string{chunkring.BackendThreads, chunkring.BackendAuto} {
		c, err := chunkring.New(chunkring.Config{Directory: dir, Backend: backend}, v13, nil, nil)
		require.NoError(f, err)
		f.Cleanup(c.Stop)
		clients = append(clients, c)
	}
	ref := sampleNamed(f, "v4-one-entry").ref
	f.Fuzz(func(t *testing.T, repair bool, file []byte) {
		if len(file) > 1<<16 {
			return
		}
		if repair {
			file = repaired(file)
		}
		want := ref
		want.Checksum = chunkgen.CRC(file)
		name := place(t, dir, v13, want, file)
		defer os.Remove(name)
		for _, c := range clients {
			got, err := c.GetChunks(context.Background(), []chunk.Chunk{want, want})
			require.NotErrorIs(t, err, chunkring.ErrPanic)
			require.NotErrorIs(t, err, chunk.ErrInvalidChecksum)
			compareWithStock(t, want, file, got, err)
		}
	})
}

func compareWithStock(t *testing.T, want chunk.Chunk, file []byte, got []chunk.Chunk, err error) {
	t.Helper()
	if _, err := chunkcheck.Check(file); err != nil {
		require.Error(t, err)
		require.Empty(t, got)
		return
	}
	stockGot, outcome := chunkgen.DecodeStock(chunkgen.Ref{
		Tenant: want.UserID, Fingerprint: chunkgen.Hex(want.Fingerprint), From: int64(want.From),
		Through: int64(want.Through), Checksum: chunkgen.Hex(want.Checksum),
	}, bytes.Clone(file))
	if outcome.Decode != chunkgen.StockSucceeds {
		require.NotEqual(t, chunkgen.StockPanic, outcome.Decode, outcome.Detail)
		require.Error(t, err)
		require.Empty(t, got)
		return
	}
	require.NoError(t, err)
	require.Len(t, got, 2)
	for i := range got {
		require.Empty(t, difference(viewOf(t, stockGot), viewOf(t, got[i])))
	}
}
