// SPDX-License-Identifier: Apache-2.0

// Package stats says what a handful of timings tell, and what they don't.
package stats

import (
	"math"
	"slices"
)

// Dist is what is left of many samples.
type Dist struct {
	N   int     `json:"n"`
	P10 float64 `json:"p10"`
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P95 float64 `json:"p95"`
	// Low and High hold the true median with a probability of 95 % (or all there is, for few samples).
	Low  float64 `json:"median_low"`
	High float64 `json:"median_high"`
}

// Of sums samples up; without any it is the zero Dist.
func Of(samples []float64) Dist {
	if len(samples) == 0 {
		return Dist{}
	}
	q := func(q float64) float64 { return Quantile(samples, q) }
	d := Dist{N: len(samples), P10: q(0.1), P50: q(0.5), P90: q(0.9), P95: q(0.95)}
	d.Low, d.High = medianInterval(samples)
	return d
}

// Quantile returns the q-th quantile of v, which has at least one value.
func Quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1)+0.5)]
}

// Spread is the distance from the 10th to the 90th percentile, as a part of the median.
func (d Dist) Spread() float64 {
	if d.P50 == 0 {
		return 0
	}
	return (d.P90 - d.P10) / d.P50
}

// Band is how far the median may be wrong, up or down, as a part of it.
func (d Dist) Band() float64 {
	if d.P50 == 0 {
		return 0
	}
	return max(d.High-d.P50, d.P50-d.Low) / d.P50
}

// medianInterval is the interval between two order statistics that holds the median with 95 %: how many
// of n samples lie below it is binomial with p = 1/2, whatever they are distributed like. With fewer than
// six samples no such interval reaches 95 %, and this is all of them.
func medianInterval(samples []float64) (low, high float64) {
	v := slices.Sorted(slices.Values(samples))
	n, skip, tail := len(v), -1, 0.0
	// The largest number of samples that may be left out on either side.
	for k := 0; k < n/2; k++ {
		if tail += binomialHalf(n, k); tail > 0.025 {
			break
		}
		skip = k
	}
	if skip < 0 {
		return v[0], v[n-1]
	}
	return v[skip], v[n-1-skip]
}

// binomialHalf is the probability of k heads in n throws.
func binomialHalf(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return math.Exp(a - b - c - float64(n)*math.Ln2)
}

// Line fits y = a + b·x by least squares.
func Line(x, y []float64) (a, b float64) {
	var sx, sy, sxx, sxy float64
	n := float64(len(x))
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	det := n*sxx - sx*sx
	if det == 0 {
		return sy / n, 0
	}
	b = (n*sxy - sx*sy) / det
	return (sy - b*sx) / n, b
}

// Exponent fits y = c·x^e, for positive numbers: 1 is linear.
func Exponent(x, y []float64) float64 {
	lx, ly := make([]float64, len(x)), make([]float64, len(y))
	for i := range x {
		lx[i], ly[i] = math.Log(x[i]), math.Log(y[i])
	}
	_, e := Line(lx, ly)
	return e
}

// Verdict is what a regression gate thinks of one ratio.
type Verdict string

// A ratio has fallen when it is below the baseline's by more than both may be wrong and by more than
// MarginMin; it is Noisy when so much could not be told from noise.
const (
	Held  Verdict = "held"
	Fell  Verdict = "FELL"
	Noisy Verdict = "too noisy"

	MarginMin = 0.05 // medians of quiet runs on one machine differ by as much
	BandMax   = 0.20 // beyond it a fall by a fifth would not be seen
)

// Judge compares a ratio (more is better) with its baseline; allowed is how far it might have fallen.
func Judge(baseline, now Dist) (v Verdict, allowed float64) {
	allowed = max(MarginMin, baseline.Band()+now.Band())
	switch {
	case now.P50 < baseline.P50*(1-allowed):
		return Fell, allowed
	case allowed > BandMax:
		return Noisy, allowed
	}
	return Held, allowed
}
