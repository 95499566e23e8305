// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"
)

// outlined reads a file's outline from ends that begin empty and grow as they are asked to.
func outlined(t *testing.T, file []byte) (*Outline, []byte, error) {
	t.Helper()
	size := int64(len(file))
	head, tail := int64(0), int64(0)
	for range 6 {
		o, err := ReadOutline(file[:head], file[size-tail:], size)
		var more *MoreError
		if !errors.As(err, &more) {
			if err != nil {
				require.ErrorIs(t, err, ErrWhole)
				return nil, nil, err
			}
			require.LessOrEqual(t, o.BlocksOff, head)
			require.GreaterOrEqual(t, o.MetasOff, size-tail)
			return o, append(file[:o.BlocksOff:o.BlocksOff], file[o.MetasOff:]...), nil
		}
		require.True(t, more.HeadBytes > head || more.TailBytes > tail, "asks for what is there")
		head, tail = max(head, more.HeadBytes), max(tail, more.TailBytes)
		require.LessOrEqual(t, max(head, tail), size)
	}
	require.Fail(t, "it asks again and again")
	return nil, nil, nil
}

func readGood(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, f := range loadCorpus(t, "good") {
		b, err := os.ReadFile(filepath.Join(corpusDir, "good", f.Path))
		require.NoError(t, err)
		files[f.Path] = b
	}
	return files
}

// checkEnds is what go/chunkring checks of ends.
func checkEnds(head, tail []byte, fileBytes int64) (*Outline, error) {
	o, err := ReadOutline(head, tail, fileBytes)
	if err == nil {
		err = o.CheckSymbols()
	}
	return o, err
}

// TestOutlineOfGoodChunks: nearly all chunks are told by their ends, and their blocks are where it says.
func TestOutlineOfGoodChunks(t *testing.T) {
	told, refused := 0, 0
	for name, file := range readGood(t) {
		o, ends, err := outlined(t, file)
		if err != nil {
			refused++
			t.Log("only as a whole:", name)
			continue
		}
		told++
		again, err := checkEnds(ends[:o.BlocksOff], ends[o.BlocksOff:], int64(len(file)))
		require.NoError(t, err, name)
		require.Equal(t, o.Blocks, again.Blocks, name)
		blocks, err := Check(file)
		require.NoError(t, err, name)
		require.Equal(t, blocks, o.Blocks, name)
		seen := 0
		rest := o.EachBlock(func(b BlockPlace) bool {
			seen++
			end := b.Off + int64(b.Bytes)
			require.Equal(t, binary.BigEndian.Uint32(file[end:]), crc32.Checksum(file[b.Off:end], castagnoli), name)
			require.LessOrEqual(t, b.MinTime, b.MaxTime, name)
			return true
		})
		require.Zero(t, rest, name)
		require.Equal(t, o.Blocks, seen, name)
	}
	require.GreaterOrEqual(t, told, 50)
	require.LessOrEqual(t, refused, 12)
}

// TestOutlineOfDamagedEnds: each flipped bit outside of the blocks is seen, but for two kinds: that of a codec,
// which is left to who reads a block and to the seal, and those in the metadata that change nothing of what it says.
func TestOutlineOfDamagedEnds(t *testing.T) {
	unseen := 0
	for name, file := range readGood(t) {
		o, _, err := outlined(t, file)
		if err != nil || len(file) > 8<<10 {
			continue
		}
		for at := range int64(len(file)) {
			if at >= o.BlocksOff && at < o.MetasOff {
				continue
			}
			for bit := range 8 {
				file[at] ^= 1 << bit
				_, _, err := outlined(t, file)
				damaged := ""
				if err == nil {
					damaged = metadataOf(file)
				}
				file[at] ^= 1 << bit
				if err != nil {
					continue
				}
				unseen++
				if at != o.dataOff+5 {
					require.Less(t, at, o.dataOff-wordBytes, "%s: bit %d", name, bit)
					require.Equal(t, metadataOf(file), damaged, "%s: bit %d of byte %d", name, bit, at)
				}
			}
		}
	}
	require.NotZero(t, unseen, "the codec byte has no checksum")
}

// metadataOf returns the JSON that a chunk begins with.
func metadataOf(file []byte) string {
	var said struct{ Metric json.RawMessage }
	_ = json.NewDecoder(snappy.NewReader(bytes.NewReader(file[wordBytes:]))).Decode(&said) // "" of what is damaged
	return string(said.Metric)
}

// TestOutlineOfCutChunks: no part of a chunk is taken for a chunk, wherever it is cut or longer than it was.
func TestOutlineOfCutChunks(t *testing.T) {
	for name, file := range readGood(t) {
		if len(file) > 8<<10 {
			continue
		}
		for n := range file {
			_, _, err := outlined(t, file[:n])
			require.ErrorIs(t, err, ErrWhole, "%s cut at %d", name, n)
		}
		_, _, err := outlined(t, append(file[:len(file):len(file)], 0))
		require.ErrorIs(t, err, ErrWhole, name)
	}
}

// TestOutlineOfBadChunks: what Check refuses is not taken by its ends either.
func TestOutlineOfBadChunks(t *testing.T) {
	taken := 0
	for _, f := range loadCorpus(t, "bad") {
		file, err := os.ReadFile(filepath.Join(corpusDir, "bad", f.Path))
		require.NoError(t, err)
		o, ends, err := outlined(t, file)
		if err != nil {
			continue
		}
		if _, err := checkEnds(ends[:o.BlocksOff], ends[o.BlocksOff:], int64(len(file))); err == nil {
			taken++
			require.NoError(t, checked(file), f.Path)
		}
	}
	require.NotZero(t, taken, "damage inside of blocks is for who reads them")
}
