// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func parsed(t *testing.T, lines ...string) results {
	r, err := parseEvents(strings.NewReader(strings.Join(lines, "\n")), io.Discard)
	require.NoError(t, err)
	return r
}

func TestRegressions(t *testing.T) {
	const pkg = `"Package":"p"`
	want := parsed(t,
		`{"Action":"run",`+pkg+`,"Test":"TestA"}`,
		`{"Action":"pass",`+pkg+`,"Test":"TestA"}`,
		`{"Action":"fail",`+pkg+`,"Test":"TestFlaky"}`,
		`{"Action":"pass",`+pkg+`,"Test":"TestSub"}`,
		`{"Action":"pass",`+pkg+`,"Test":"TestSub/random-1"}`,
		`{"Action":"pass",`+pkg+`}`)
	same := func(change map[string]string) results {
		r := results{}
		for k, v := range want {
			if c, ok := change[k.test]; !ok {
				r[k] = v
			} else if c != "" {
				r[k] = c
			}
		}
		return r
	}
	require.Empty(t, regressions(want, want))
	require.Equal(t, []id{{"p", "TestA"}}, regressions(want, same(map[string]string{"TestA": "fail"})))
	require.Equal(t, []id{{"p", "TestA"}}, regressions(want, same(map[string]string{"TestA": ""})), "a test that is gone")
	require.Equal(t, []id{{"p", "TestA"}}, regressions(want, same(map[string]string{"TestA": "skip"})))
	require.Equal(t, []id{{"p", ""}}, regressions(want, same(map[string]string{"": "fail"})), "a package that does not build")

	renamed := same(map[string]string{"TestSub/random-1": ""})
	require.Equal(t, []id{{"p", "TestSub/random-1"}}, regressions(want, renamed))
	renamed[id{"p", "TestSub/random-2"}] = "pass"
	require.Empty(t, regressions(want, renamed), "a subtest with a random name")

	added := same(nil)
	added[id{"p", "TestOurs"}] = "fail"
	require.Equal(t, []id{{"p", "TestOurs"}}, regressions(want, added))
}
