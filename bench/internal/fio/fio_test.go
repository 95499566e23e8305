// SPDX-License-Identifier: Apache-2.0

package fio

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseFio(t *testing.T) {
	mbps, err := parse([]byte("note: something\n{\"jobs\": [{\"error\": 0, \"read\": {\"bw_bytes\": 1500000000}}]}"))
	require.NoError(t, err)
	require.Equal(t, 1500.0, mbps)
	for _, bad := range []string{"", "{}", `{"jobs": [{"error": 5, "read": {"bw_bytes": 1}}]}`} {
		_, err := parse([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestBlockCoversFiles(t *testing.T) {
	for size, want := range map[int]int{900_000: 126_976, 235_000: 114_688, 1_650_000: 122_880, 20_000: 19_968, 4_000: 3_584, 300: 512} {
		require.Equal(t, want, Block(size), size)
	}
}
