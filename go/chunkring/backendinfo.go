// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// backendInfo is the metric chunkring_backend_info: a 1 for each back-end that an open store of a registry
// uses. It is a collector of its own because several stores may use the same one, and the last of them
// takes the series along: a gauge would say 1 of what was closed long ago.
type backendInfo struct {
	mu     sync.Mutex
	stores map[backendLabels]int
}

type backendLabels struct{ backend, fallbackReason string }

var backendInfoDesc = prometheus.NewDesc("chunkring_backend_info",
	"1 for the back-end in use; fallback_reason says why it is not io_uring.", []string{"backend", "fallback_reason"}, nil)

func newBackendInfo() *backendInfo { return &backendInfo{stores: map[backendLabels]int{}} }

// add counts a store that was opened (1) or closed (-1).
func (b *backendInfo) add(labels backendLabels, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stores[labels] += n; b.stores[labels] == 0 {
		delete(b.stores, labels)
	}
}

// Describe implements prometheus.Collector.
func (b *backendInfo) Describe(out chan<- *prometheus.Desc) { out <- backendInfoDesc }

// Collect implements prometheus.Collector.
func (b *backendInfo) Collect(out chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for labels := range b.stores {
		out <- prometheus.MustNewConstMetric(backendInfoDesc, prometheus.GaugeValue, 1, labels.backend, labels.fallbackReason)
	}
}
