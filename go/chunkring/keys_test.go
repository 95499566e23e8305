// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"
)

// schemaOf makes periods that begin at the given times, in the order given.
func schemaOf(versions ...any) config.SchemaConfig {
	var s config.SchemaConfig
	for i := 0; i < len(versions); i += 2 {
		s.Configs = append(s.Configs, config.PeriodConfig{
			From:   config.DayTime{Time: model.Time(versions[i].(int))},
			Schema: versions[i+1].(string),
		})
	}
	return s
}

var keySchemas = map[string]config.SchemaConfig{
	"none":                 {},
	"v9":                   schemaOf(0, "v9"),
	"v11":                  schemaOf(0, "v11"),
	"v12":                  schemaOf(0, "v12"),
	"v13":                  schemaOf(0, "v13"),
	"future":               schemaOf(0, "v14"),
	"unreadable":           schemaOf(0, "newest"),
	"empty":                schemaOf(0, ""),
	"v11 v12 v13":          schemaOf(0, "v11", 1000, "v12", 2000, "v13"),
	"back and forth":       schemaOf(-500, "v13", 0, "v10", 500, "v12", 501, "v11", 502, "v13"),
	"begins late":          schemaOf(1_700_000_000_000, "v13"),
	"unsorted":             schemaOf(1000, "v13", 0, "v11", 2000, "v12"),
	"two from one time on": schemaOf(0, "v11", 0, "v13"),
}

var oddTenants = []string{
	"fake", "", "..", "../x", "a/../b", "a/b", "/", "a//b", "tenant:1", "a b", "größe", "\x00", "a\x00b",
	"ÿÿÿ", "\xff\xff\xff", "???", strings.Repeat("long", 30), strings.Repeat("longer", 100), "a|b", "*()'!-_.",
}

func randomRef(r *rand.Rand) logproto.ChunkRef {
	// Near the periods' begins, small, huge, negative.
	time := func() model.Time {
		switch r.IntN(6) {
		case 0:
			return model.Time(r.IntN(3000) - 700)
		case 1:
			return model.Time(int64(r.Uint64()))
		case 2:
			return model.Time([]int64{math.MinInt64, math.MaxInt64, -1, 0, 1, math.MaxInt64 - 1}[r.IntN(6)])
		case 3:
			return model.Time(1_700_000_000_000 + r.Int64N(3) - 1)
		}
		return model.Time(1_600_000_000_000 + r.Int64N(200_000_000_000))
	}
	ref := logproto.ChunkRef{
		Fingerprint: r.Uint64() >> r.IntN(64),
		UserID:      oddTenants[r.IntN(len(oddTenants))],
		From:        time(),
		Through:     time(),
		Checksum:    r.Uint32() >> r.IntN(32),
	}
	if r.IntN(4) == 0 { // any bytes
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		ref.UserID = string(b)
	}
	return ref
}

func TestKeysAreLokis(t *testing.T) {
	for name, schema := range keySchemas {
		t.Run(name, func(t *testing.T) {
			k := newKeyer(schema)
			r := rand.New(rand.NewPCG(1, 2))
			for range 5000 {
				ref := randomRef(r)
				require.Equal(t, schema.ExternalKey(ref), k.externalKey(&ref))
				require.Equal(t, client.FSEncoder(schema, chunk.Chunk{ChunkRef: ref}), k.path(&ref))
			}
		})
	}
}

// The append forms leave what is there and need no memory beyond their destination.
func TestKeysAppend(t *testing.T) {
	for _, version := range []string{"v11", "v13"} {
		k := newKeyer(schemaOf(0, version))
		ref := logproto.ChunkRef{Fingerprint: math.MaxUint64, UserID: "fake", From: 1_700_000_000_000, Through: 1_700_003_600_000, Checksum: math.MaxUint32}
		require.Equal(t, "before"+k.path(&ref), string(k.appendPath([]byte("before"), &ref)))
		require.Equal(t, "before"+k.externalKey(&ref), string(k.appendExternalKey([]byte("before"), &ref)))
		dst := make([]byte, 0, 512)
		require.Zero(t, testing.AllocsPerRun(100, func() { dst = k.appendPath(dst[:0], &ref) }), version)
	}
}

// A schema that is changed after New does not move the files.
func TestKeysDontFollowTheSchema(t *testing.T) {
	schema := schemaOf(0, "v13")
	k := newKeyer(schema)
	ref := logproto.ChunkRef{Fingerprint: 1, UserID: "fake", From: 1, Through: 2, Checksum: 3}
	before := k.path(&ref)
	schema.Configs[0].Schema = "v11"
	require.Equal(t, before, k.path(&ref))
}

func FuzzKeys(f *testing.F) {
	f.Add("fake", uint64(1), int64(2), int64(3), uint32(4), 1000)
	f.Add("../x", uint64(math.MaxUint64), int64(-2), int64(math.MinInt64), uint32(math.MaxUint32), -1)
	f.Fuzz(func(t *testing.T, tenant string, fp uint64, from, through int64, crc uint32, begin int) {
		schema := schemaOf(0, "v11", begin, "v13")
		k := newKeyer(schema)
		ref := logproto.ChunkRef{UserID: tenant, Fingerprint: fp, From: model.Time(from), Through: model.Time(through), Checksum: crc}
		if want, got := schema.ExternalKey(ref), k.externalKey(&ref); want != got {
			t.Errorf("external key %q, Loki's %q", got, want)
		}
		if want, got := client.FSEncoder(schema, chunk.Chunk{ChunkRef: ref}), k.path(&ref); want != got {
			t.Errorf("path %q, Loki's %q", got, want)
		}
	})
}

func BenchmarkPath(b *testing.B) {
	schema := schemaOf(0, "v13")
	k := newKeyer(schema)
	ref := logproto.ChunkRef{Fingerprint: math.MaxUint64, UserID: "fake", From: 1_700_000_000_000, Through: 1_700_003_600_000, Checksum: math.MaxUint32}
	b.Run("stock", func(b *testing.B) {
		for b.Loop() {
			_ = client.FSEncoder(schema, chunk.Chunk{ChunkRef: ref})
		}
	})
	b.Run("chunkring", func(b *testing.B) {
		var dst []byte
		for b.Loop() {
			dst = k.appendPath(dst[:0], &ref)
		}
	})
}
