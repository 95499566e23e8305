// SPDX-License-Identifier: Apache-2.0

// Package promreg registers metrics that several clients of one process share.
package promreg

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Register returns the collector that is registered: c, or the one that was there before. reg may be nil. What goes
// wrong is added to errs.
func Register[C prometheus.Collector](reg prometheus.Registerer, errs *[]error, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if already := (prometheus.AlreadyRegisteredError{}); errors.As(err, &already) {
		if old, ok := already.ExistingCollector.(C); ok {
			return old
		}
	}
	if err != nil {
		*errs = append(*errs, err)
	}
	return c
}
