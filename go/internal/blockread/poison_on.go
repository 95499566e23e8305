// SPDX-License-Identifier: Apache-2.0

//go:build race || chunkring_debug

package blockread

const poisonReleased = true
