// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	var v []float64
	for i := range 101 {
		v = append(v, float64(100-i))
	}
	d := Of(v)
	require.Equal(t, 101, d.N)
	require.Equal(t, []float64{10, 50, 90, 95}, []float64{d.P10, d.P50, d.P90, d.P95})
	require.InDelta(t, 1.6, d.Spread(), 1e-9)
	require.Equal(t, Dist{}, Of(nil))
	require.Zero(t, Dist{}.Spread())
	require.Zero(t, Dist{}.Band())
}

// From tables of the sign test: how many of the smallest and largest samples lie outside.
func TestMedianIntervalIsTheSignTests(t *testing.T) {
	for n, skip := range map[int]int{1: 0, 5: 0, 6: 0, 9: 1, 12: 2, 15: 3, 20: 5, 25: 7, 40: 13} {
		var v []float64
		for i := range n {
			v = append(v, float64(i))
		}
		low, high := medianInterval(v)
		require.Equal(t, float64(skip), low, "n=%d", n)
		require.Equal(t, float64(n-1-skip), high, "n=%d", n)
	}
}

func TestMedianIntervalHoldsTheMedian(t *testing.T) {
	const tries = 2000
	r := rand.New(rand.NewPCG(1, 2))
	held := 0
	for range tries {
		var v []float64
		for range 15 {
			v = append(v, r.ExpFloat64()) // skewed, as timings are; its median is ln 2
		}
		if low, high := medianInterval(v); low <= 0.6931 && 0.6931 <= high {
			held++
		}
	}
	require.Greater(t, held, tries*94/100)
}

func TestLineAndExponent(t *testing.T) {
	a, b := Line([]float64{1, 2, 3}, []float64{5, 7, 9})
	require.InDelta(t, 3, a, 1e-9)
	require.InDelta(t, 2, b, 1e-9)
	a, b = Line([]float64{4, 4}, []float64{1, 3})
	require.Equal(t, []float64{2, 0}, []float64{a, b})
	require.InDelta(t, 1.5, Exponent([]float64{1, 4, 9}, []float64{2, 16, 54}), 1e-9)
}

func TestJudge(t *testing.T) {
	ratio := func(median, band float64) Dist {
		return Dist{P50: median, Low: median * (1 - band), High: median * (1 + band)}
	}
	for _, c := range []struct {
		name           string
		baseline, now  Dist
		want           Verdict
		allowedAtLeast float64
	}{
		{"the same", ratio(1.5, 0.01), ratio(1.5, 0.01), Held, MarginMin},
		{"faster", ratio(1.5, 0.01), ratio(2.5, 0.01), Held, MarginMin},
		{"within the least margin", ratio(1.5, 0), ratio(1.44, 0), Held, MarginMin},
		{"below the least margin", ratio(1.5, 0), ratio(1.41, 0), Fell, MarginMin},
		{"within the noise of both", ratio(1.5, 0.06), ratio(1.33, 0.06), Held, 0.12},
		{"below the noise of both", ratio(1.5, 0.06), ratio(1.31, 0.06), Fell, 0.12},
		{"nothing could be seen", ratio(1.5, 0.06), ratio(1.4, 0.2), Noisy, 0.26},
		{"so low that it could", ratio(1.5, 0.06), ratio(1.0, 0.2), Fell, 0.26},
	} {
		v, allowed := Judge(c.baseline, c.now)
		require.Equal(t, c.want, v, c.name)
		require.InDelta(t, c.allowedAtLeast, allowed, 1e-9, c.name)
	}
}
