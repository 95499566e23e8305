// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// Digest reads a batch and sums up all that a chunk is: its key, its bytes, labels and encoding, and every
// decoded entry of each linesEvery-th chunk (1: of all). Two peers are equal on a batch if their digests
// are. It fails if a chunk is missing or came twice.
func Digest(ctx context.Context, p Peer, refs []chunk.Chunk, linesEvery int) (string, error) {
	withLines := map[string]bool{}
	for i := 0; i < len(refs); i += linesEvery {
		withLines[string(chunkKey(&refs[i]))] = true
	}
	var (
		mu   sync.Mutex
		sums = map[string][]byte{}
		errs []error
	)
	_, release, err := p.Get(ctx, refs, func(c *chunk.Chunk) {
		key := string(chunkKey(c))
		sum, err := sumUp(c, withLines[key])
		mu.Lock()
		defer mu.Unlock()
		if _, twice := sums[key]; twice {
			err = errors.Join(err, fmt.Errorf("chunk %v came twice", c.ChunkRef))
		}
		sums[key] = sum
		errs = append(errs, err)
	})
	defer release()
	if err := errors.Join(append(errs, err)...); err != nil {
		return "", fmt.Errorf("%s: %w", p.Info().Name, err)
	}
	all := sha256.New()
	for i := range refs {
		sum, ok := sums[string(chunkKey(&refs[i]))]
		if !ok {
			return "", fmt.Errorf("%s: chunk %v is missing", p.Info().Name, refs[i].ChunkRef)
		}
		all.Write(sum)
	}
	if len(sums) != len(refs) {
		return "", fmt.Errorf("%s returned %d chunks, not %d", p.Info().Name, len(sums), len(refs))
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

func chunkKey(c *chunk.Chunk) []byte {
	b := append([]byte(c.UserID), 0)
	for _, n := range []uint64{c.Fingerprint, uint64(c.From), uint64(c.Through), uint64(c.Checksum)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func sumUp(c *chunk.Chunk, lines bool) ([]byte, error) {
	encoded, err := c.Encoded()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	text := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	text(string(chunkKey(c)))
	text(c.Metric.String())
	text(fmt.Sprint(c.Encoding, " ", len(encoded)))
	h.Write(encoded)
	if lines {
		err = chunkgen.Lines(*c, func(e logproto.Entry) {
			text(strconv.FormatInt(e.Timestamp.UnixNano(), 10))
			text(e.Line)
			for _, l := range e.StructuredMetadata {
				text(l.Name)
				text(l.Value)
			}
		})
	}
	return h.Sum(nil), err
}
