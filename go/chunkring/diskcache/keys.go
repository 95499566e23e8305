// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"encoding/base64"
	"strings"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"
)

// pathOf is the path of a chunk's file below the folder: that of Loki's filesystem store.
func pathOf(schema config.SchemaConfig, ref logproto.ChunkRef) string {
	return client.FSEncoder(schema, chunk.Chunk{ChunkRef: ref})
}

// refOf is the chunk of a path. ok is false for every path that pathOf does not give.
func refOf(schema config.SchemaConfig, path string) (ref logproto.ChunkRef, ok bool) {
	slash := strings.LastIndexByte(path, '/')
	tail, err := base64.StdEncoding.DecodeString(path[slash+1:])
	if err != nil {
		return ref, false
	}
	key := path[:slash+1] + string(tail)
	tenant, _, _ := strings.Cut(key, "/")
	c, err := chunk.ParseExternalKey(tenant, key)
	if err != nil || pathOf(schema, c.ChunkRef) != path {
		return ref, false
	}
	return c.ChunkRef, true
}
