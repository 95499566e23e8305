// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/config"
)

// keyer turns chunk references into file names: those of Loki's client.FSEncoder, which formats and
// allocates several strings a chunk. It knows of a schema only what names depend on.
type keyer struct {
	periods []period
}

type period struct {
	from   model.Time
	nested bool // schema v12 and later: tenant/fingerprint/base64; before: one flat base64 name
}

func newKeyer(schema config.SchemaConfig) keyer {
	var k keyer
	for _, p := range schema.Configs {
		v, _ := p.VersionAsInt() // FSEncoder takes an unreadable version for an old one, too
		k.periods = append(k.periods, period{from: p.From.Time, nested: v >= 12})
	}
	return k
}

// nested reports the layout at a time, by the rule of SchemaConfig.SchemaForTime: the first period
// that contains it, and none (so the flat layout) before the first.
func (k keyer) nested(t model.Time) bool {
	for i, p := range k.periods {
		if t >= p.from && (i+1 == len(k.periods) || t < k.periods[i+1].from) {
			return p.nested
		}
	}
	return false
}

// appendPath appends the file's path below the store directory.
func (k keyer) appendPath(dst []byte, ref *logproto.ChunkRef) []byte {
	if !k.nested(ref.From) {
		var buf [256]byte
		key := appendKey(append(buf[:0], ref.UserID...), ref, '/', ':')
		return base64.StdEncoding.AppendEncode(dst, key)
	}
	dst = append(append(dst, ref.UserID...), '/')
	dst = append(strconv.AppendUint(dst, ref.Fingerprint, 16), '/')
	var buf [3*17 + 2]byte
	return base64.StdEncoding.AppendEncode(dst, appendTimes(buf[:0], ref))
}

// appendExternalKey appends the key that Loki's index and its logs use.
func (k keyer) appendExternalKey(dst []byte, ref *logproto.ChunkRef) []byte {
	sep := byte(':')
	if k.nested(ref.From) {
		sep = '/'
	}
	return appendKey(append(dst, ref.UserID...), ref, '/', sep)
}

func appendKey(dst []byte, ref *logproto.ChunkRef, afterUser, afterFingerprint byte) []byte {
	dst = strconv.AppendUint(append(dst, afterUser), ref.Fingerprint, 16)
	return appendTimes(append(dst, afterFingerprint), ref)
}

func appendTimes(dst []byte, ref *logproto.ChunkRef) []byte {
	dst = append(strconv.AppendInt(dst, int64(ref.From), 16), ':')
	dst = append(strconv.AppendInt(dst, int64(ref.Through), 16), ':')
	return strconv.AppendUint(dst, uint64(ref.Checksum), 16)
}

// externalKey is appendExternalKey as a string.
func (k keyer) externalKey(ref *logproto.ChunkRef) string {
	return string(k.appendExternalKey(nil, ref))
}

// path is appendPath as a string.
func (k keyer) path(ref *logproto.ChunkRef) string { return string(k.appendPath(nil, ref)) }

// mayHoldChunks reports whether a folder below the store directory may hold chunks, of whatever schema,
// or folders that do: tenant and tenant/fingerprint. What else lies there, such as the index's tables
// (index/index_20000/tenant), is not ours.
func mayHoldChunks(folder string) bool {
	_, fingerprint, nested := strings.Cut(folder, "/")
	if !nested {
		return true
	}
	n, err := strconv.ParseUint(fingerprint, 16, 64)
	return err == nil && fingerprint == strconv.FormatUint(n, 16)
}
