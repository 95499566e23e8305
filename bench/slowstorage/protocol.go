// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/chunkring/chunkring/go/test/slowfs"
)

// The storage and each reader have a process of their own: what one of them needs of CPU time and memory is
// its own, and no reader waits for another's garbage collection. They talk in JSON objects.

// children are this program's own other roles, by its first argument. The second is the configuration.
var children = map[string]func(ctx context.Context, cfg []byte, in io.Reader, out io.Writer) error{
	roleServe: serve,
	roleRead:  read,
}

const (
	roleServe = "serve"
	roleRead  = "read"
)

type serveConfig struct {
	Dir, At   string
	Latency   time.Duration
	CacheTime time.Duration
}

type readConfig struct {
	Index string // directory of the store itself, for the names of its chunks
	Dir   string // where it is read
	Peer  string
	Files int
	// Span is whose lines are read of each chunk, 0: none, and whole chunks are compared.
	Span   time.Duration
	Partly bool // GetChunks is told of the span, and may read parts of chunks
}

type request struct {
	Do string // one of the constants below
}

const (
	doForget = "forget" // storage: forget all that the kernel knows, count anew
	doCounts = "counts" // storage: requests since then
	doDigest = "digest" // reader: of what it returns
	doGet    = "get"    // reader: one GetChunks, and the lines if there is a span, timed
)

type reply struct {
	Err     string
	Backend string // of a reader's first reply
	Digest  string
	Wall    time.Duration
	Counts  slowfs.Counts
}

// answer answers requests until in ends. first is said before any.
func answer(in io.Reader, out io.Writer, first reply, to func(request) (reply, error)) error {
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	if err := replies.Encode(first); err != nil {
		return err
	}
	for {
		var req request
		if err := requests.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		rep, err := to(req)
		if err != nil {
			rep.Err = err.Error()
		}
		if err := replies.Encode(rep); err != nil {
			return err
		}
	}
}
