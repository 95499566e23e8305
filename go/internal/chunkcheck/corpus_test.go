// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/logproto"
)

const corpusDir = "../../../testdata"

// corpusFile is what an index.json of the corpus says of one file.
type corpusFile struct {
	Path        string `json:"path"`
	Tenant      string `json:"tenant"`
	Fingerprint string `json:"fingerprint"`
	From        int64  `json:"from"`
	Through     int64  `json:"through"`
	OuterCRCOK  bool   `json:"outer_crc_ok"`
	Must        string `json:"must"`
}

func (f corpusFile) key(t *testing.T) logproto.ChunkRef {
	fp, err := strconv.ParseUint(f.Fingerprint, 16, 64)
	require.NoError(t, err)
	return logproto.ChunkRef{
		UserID: f.Tenant, Fingerprint: fp, From: model.Time(f.From), Through: model.Time(f.Through),
	}
}

func loadCorpus(t *testing.T, dir string) []corpusFile {
	b, err := os.ReadFile(filepath.Join(corpusDir, dir, "index.json"))
	require.NoError(t, err)
	var index struct {
		Chunks []corpusFile `json:"chunks"` // good
		Files  []corpusFile `json:"files"`  // bad
	}
	require.NoError(t, json.Unmarshal(b, &index))
	files := append(index.Chunks, index.Files...)
	require.NotEmpty(t, files)
	return files
}

func TestGoodCorpus(t *testing.T) {
	for _, f := range loadCorpus(t, "good") {
		t.Run(f.Path, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join(corpusDir, "good", f.Path))
			require.NoError(t, err)
			require.NoError(t, checked(file))
			require.NoError(t, decodeAs(f.key(t), file))
		})
	}
}

// TestBadCorpus: with the outer CRC right, each file gets the verdict that its maker found with
// stock Loki, and Decode survives whatever is accepted. Those with a wrong outer CRC never get as
// far as Check; it must only not panic.
func TestBadCorpus(t *testing.T) {
	for _, f := range loadCorpus(t, "bad") {
		t.Run(f.Path, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join(corpusDir, "bad", f.Path))
			require.NoError(t, err)
			err = checked(file)
			if f.OuterCRCOK {
				switch f.Must {
				case "accept":
					require.NoError(t, err)
				case "reject":
					require.Error(t, err)
				default:
					require.Equal(t, "either", f.Must)
				}
			}
			if err == nil {
				stock := decodeAs(f.key(t), file)
				require.False(t, unsafeErr(stock), "%v", stock)
				return
			}
			if reason, detail := reasonOf(t, err); harmless(reason, detail) {
				require.Error(t, decodeAs(f.key(t), file), "refused: %v", err)
			}
		})
	}
}
