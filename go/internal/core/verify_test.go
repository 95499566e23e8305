// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package core

import (
	"bytes"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVerifier: sound files are found so, under their own checksum only; a block that is damaged is found under a
// right checksum of the file, too.
func TestVerifier(t *testing.T) {
	verify := Verifier()
	table := crc32.MakeTable(crc32.Castagnoli)
	names, err := filepath.Glob("../../../testdata/good/v4-*.chunk")
	require.NoError(t, err)
	require.Greater(t, len(names), 10)
	for _, name := range names {
		file, err := os.ReadFile(name)
		require.NoError(t, err)
		crc := crc32.Checksum(file, table)
		require.True(t, verify(file, crc), name)
		require.False(t, verify(file, crc^1), name)
		require.False(t, verify(file[:len(file)-1], crc), name)
	}
	file, err := os.ReadFile("../../../testdata/good/v4-snappy.chunk")
	require.NoError(t, err)
	damaged := bytes.Clone(file)
	damaged[len(file)/2] ^= 1 // in a block
	require.False(t, verify(damaged, crc32.Checksum(file, table)))
	require.False(t, verify(damaged, crc32.Checksum(damaged, table)))
	require.False(t, verify(nil, 0))
}
