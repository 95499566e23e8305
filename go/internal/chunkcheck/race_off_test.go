// SPDX-License-Identifier: Apache-2.0

//go:build !race

package chunkcheck

const sample = 1
