// SPDX-License-Identifier: Apache-2.0

// Package lokiproc runs Lokis as processes of their own on 127.0.0.1, pushes logs to them, asks them
// and compares their answers. It is what the end-to-end test and the end-to-end benchmark share.
package lokiproc
