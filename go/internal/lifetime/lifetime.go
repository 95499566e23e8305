// SPDX-License-Identifier: Apache-2.0

// Package lifetime ends what many calls use at the same time: it waits for those that run, and keeps out the others.
package lifetime

import "sync"

// Lifetime is that of a client or a directory. The zero value has begun.
type Lifetime struct {
	// Every call holds it shared; End, and nothing else, takes it whole, so it waits for what runs.
	mu   sync.RWMutex
	over bool
}

// Enter begins a call, which ends with Leave, unless End was called. RLock would wait behind an End that waits for
// another call, however long that takes and whatever the context says; TryRLock fails then, and only then.
func (l *Lifetime) Enter() bool {
	if !l.mu.TryRLock() {
		return false
	}
	if l.over {
		l.mu.RUnlock()
		return false
	}
	return true
}

// Leave ends a call.
func (l *Lifetime) Leave() { l.mu.RUnlock() }

// End waits for the calls that run, then calls end, once: later Ends return false and call nothing. No call enters
// from the moment that End waits.
func (l *Lifetime) End(end func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.over = true
	end()
	return true
}
