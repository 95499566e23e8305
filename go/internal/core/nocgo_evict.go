// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

// Evict chooses which of a folder's files goes next, for one goroutine at a time.
type Evict = goEvict

// OpenEvict makes room for so many files. It fails with EINVAL.
func OpenEvict(itemsMax uint32) (*Evict, error) { return openGoEvict(itemsMax) }
