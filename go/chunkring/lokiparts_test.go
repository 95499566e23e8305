// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkring"
)

func TestLokiParts(t *testing.T) {
	all := chunkring.LokiParts{In: "client block_path"}
	require.Equal(t, "chunkring parts: client, block_path; left out: none", all.String())
	some := chunkring.LokiParts{In: "client", LeftOut: "block_path iterator"}
	require.Equal(t, "chunkring parts: client; left out: block_path, iterator", some.String())
	require.NoError(t, testutil.CollectAndCompare(some, strings.NewReader(`
# HELP chunkring_parts_info 1 for each part of chunkring that is in this Loki, 0 for each that was left out because this version of Loki lacks what it builds on.
# TYPE chunkring_parts_info gauge
chunkring_parts_info{part="block_path"} 0
chunkring_parts_info{part="client"} 1
chunkring_parts_info{part="iterator"} 0
`)))
}
