// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

// Verifier returns nil: hash/crc32 can't put the CRC of a file together from those of its blocks, so a
// verifier in Go would pass over the bytes as often as Loki's own Decode does.
func Verifier() func(file []byte, crc uint32) bool { return nil }
