// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAnswersAreComparedWithoutStatisticsOnly(t *testing.T) {
	parse := func(body string, unordered bool) Answer {
		a, err := ParseAnswer([]byte(body), unordered)
		require.NoError(t, err)
		return a
	}
	one := parse(`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"a":"1","b":"2"},"values":[["1","x"]]}],
		"stats":{"querier":{"store":{"totalChunksDownloaded":7,"chunksDownloadTime":1500000}}}}}`, false)
	two := parse(`{"data":{"result":[{"values":[["1","x"]],"stream":{"b":"2","a":"1"}}],"resultType":"streams"},"status":"success"}`, false)
	require.Equal(t, one.Text, two.Text)
	require.Equal(t, 1, one.Items)
	require.Equal(t, 7, one.Downloaded)
	require.Equal(t, 1500*time.Microsecond, one.Fetching)

	numbers := [2]string{`{"data":{"result":[[1,"0.10"]]}}`, `{"data":{"result":[[1,"0.1"]]}}`}
	require.NotEqual(t, parse(numbers[0], false).Text, parse(numbers[1], false).Text)
	lists := [2]string{`{"data":["b","a"]}`, `{"data":["a","b"]}`}
	require.NotEqual(t, parse(lists[0], false).Text, parse(lists[1], false).Text)
	require.Equal(t, parse(lists[0], true).Text, parse(lists[1], true).Text)
	require.Zero(t, parse(`{"status":"success","data":{"result":[]}}`, false).Items)
}

// What Loki's own client and chunkring read is each counted by who read it.
func TestBytesThatWereRead(t *testing.T) {
	m := Metrics{`loki_chunk_store_fetched_chunk_bytes_total{user="a"}`: 70, `loki_chunk_store_fetched_chunk_bytes_total{user="b"}`: 7,
		`chunkring_bytes_total{operation="read"}`: 5, `chunkring_bytes_total{operation="put"}`: 900, "chunkring_block_bytes_read_total": 11}
	require.Equal(t, 77.0, Build{Patched: true}.chunkBytes(m))
	require.Equal(t, 16.0, Build{Patched: true, Backend: "uring"}.chunkBytes(m))
}
