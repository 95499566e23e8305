// SPDX-License-Identifier: Apache-2.0

//go:build race || chunkring_debug

package chunkring

const poisonReleased = true
