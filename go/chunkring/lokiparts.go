// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// LokiParts says which parts of chunkring are in a patched Loki, and which lokifork left out because this
// Loki lacks what they build on. Names are separated by spaces.
type LokiParts struct {
	In, LeftOut string
}

// String is the line that loki -version prints.
func (p LokiParts) String() string {
	leftOut := "none"
	if p.LeftOut != "" {
		leftOut = strings.ReplaceAll(p.LeftOut, " ", ", ")
	}
	return "chunkring parts: " + strings.ReplaceAll(p.In, " ", ", ") + "; left out: " + leftOut
}

var partsDesc = prometheus.NewDesc("chunkring_parts_info",
	"1 for each part of chunkring that is in this Loki, 0 for each that was left out because this version of Loki lacks what it builds on.", []string{"part"}, nil)

// Describe implements prometheus.Collector.
func (p LokiParts) Describe(out chan<- *prometheus.Desc) { out <- partsDesc }

// Collect implements prometheus.Collector.
func (p LokiParts) Collect(out chan<- prometheus.Metric) {
	for _, name := range strings.Fields(p.In) {
		out <- prometheus.MustNewConstMetric(partsDesc, prometheus.GaugeValue, 1, name)
	}
	for _, name := range strings.Fields(p.LeftOut) {
		out <- prometheus.MustNewConstMetric(partsDesc, prometheus.GaugeValue, 0, name)
	}
}
