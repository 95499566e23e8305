// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
	"github.com/chunkring/chunkring/go/internal/core"
)

// What Loki decodes itself, out of an object store or a cache, comes to the same with the block path and
// without: the chunk, or the error. In a patched Loki the sound ones were checked in one pass.
func TestDecodeIsTheSameWithBlockPath(t *testing.T) {
	reg := prometheus.NewRegistry()
	set := func(path string) {
		require.NoError(t, chunkring.SetBlockPath(chunkring.LokiProcessConfig{BlockPath: path}, &logLines{}, reg))
	}
	t.Cleanup(func() { set(chunkring.BlockPathOff) })
	_, patched := any(&chunk.Chunk{}).(interface {
		SetVerifier(verify func(file []byte, crc uint32) bool)
	})
	counted := func() (sound, left float64) {
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "chunkring_chunks_verified_total" {
				require.Equal(t, "left", f.Metric[0].Label[0].GetValue()) // sorted
				return f.Metric[1].GetCounter().GetValue(), f.Metric[0].GetCounter().GetValue()
			}
		}
		return 0, 0
	}
	// same decodes in both ways, and tells what the verifier said: sound, left or nothing.
	same := func(name string, ref chunk.Chunk, file []byte) (said string) {
		decode := func(path string) (chk chunk.Chunk, failure string) {
			set(path)
			defer func() {
				if p := recover(); p != nil {
					failure = fmt.Sprint("panic: ", p)
				}
			}()
			chk = ref
			if err := chk.Decode(chunk.NewDecodeContext(), bytes.Clone(file)); err != nil {
				failure = err.Error()
			}
			return chk, failure
		}
		set(chunkring.BlockPathOff)
		sound, left := counted()
		want, wantFailure := decode(chunkring.BlockPathOff)
		soundOff, leftOff := counted()
		require.Equal(t, [2]float64{sound, left}, [2]float64{soundOff, leftOff}, "switched off")
		got, gotFailure := decode(chunkring.BlockPathDecompress)
		require.Equal(t, wantFailure, gotFailure, name)
		if wantFailure == "" {
			require.Empty(t, difference(bytesOf(t, want), bytesOf(t, got)), name)
		}
		switch soundNow, leftNow := counted(); {
		case soundNow > sound:
			return "sound"
		case leftNow > left:
			return "left"
		}
		return ""
	}
	sound, left := "", ""
	if patched && core.Verifier() != nil {
		sound, left = "sound", "left"
	}
	for _, s := range goodSamples() {
		require.Equal(t, sound, same(s.name, s.ref, s.bytes), s.name)
		other := s.ref
		other.UserID = "another"
		require.Equal(t, sound, same(s.name+" of another tenant", other, s.bytes))
		flipped := bytes.Clone(s.bytes)
		flipped[len(flipped)/2] ^= 1
		require.Equal(t, left, same(s.name+" flipped", s.ref, flipped), s.name)
	}
	x, err := chunkgen.LoadBad(badDir)
	require.NoError(t, err)
	for _, f := range x.Files {
		if f.Stock.Decode == chunkgen.StockHangOrOOM {
			continue
		}
		file, err := os.ReadFile(x.Path(f))
		require.NoError(t, err)
		same(f.Name(), f.Chunk(), file)
	}
}
