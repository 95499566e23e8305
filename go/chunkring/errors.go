// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	pkgerrors "github.com/pkg/errors"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/chunkfile"
	"github.com/chunkring/chunkring/go/internal/core"
)

// What errors.Is finds in the cause of a failed chunk besides chunk.ErrInvalidChecksum and Loki's
// other decode errors, fs.ErrNotExist and the errnos of the system, and the context's errors.
var (
	// ErrStopped is returned by every call that begins after Stop was called.
	ErrStopped = errors.New("chunk client is stopped")
	// ErrRefused: the path crosses a symbolic link, leaves the store directory, or has a component
	// that no chunk has (a tenant named "..").
	ErrRefused = errors.New("path refused")
	// ErrNotRegular: a directory, FIFO, socket or device where a chunk file should be.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooBig: larger than Config.MaxChunkBytes, which holds for reading and for storing.
	ErrTooBig = errors.New("the chunk is too big")
	// ErrNotDurable: PutChunks put the chunk in its place, whole, but the fsync of its folder failed, so it
	// may not survive a power loss. Putting it again is right.
	ErrNotDurable = chunkfile.ErrNotDurable
	// ErrMalformed: the file's checksum is right, but Loki could not decode what it says: it would
	// panic, hang or exhaust memory. The message says what and where.
	ErrMalformed = errors.New("malformed chunk")
	// ErrPanic: decoding panicked in spite of all checks. Please report the file.
	ErrPanic = errors.New("decoding the chunk panicked")
)

// What has a name of its own in the metrics besides: two kinds of a wrong checksum, and what Loki's
// decoder refuses though the checksum is right.
var (
	errEmpty     = errors.New("the file is empty")
	errShrinking = errors.New("the file ends before the size that the system gives for it")
	errDecode    = errors.New("decode")
)

// ChunkError is what happened to one chunk.
type ChunkError struct {
	Key  string // as in Loki's index: tenant/fingerprint/from:through:checksum
	Path string // of the file
	Err  error  // the cause
}

// Error names the key, the path and the reason.
func (e *ChunkError) Error() string {
	var pe *fs.PathError
	if errors.As(e.Err, &pe) && pe.Path == e.Path { // it names the path itself
		return fmt.Sprintf("chunk %q: %v", e.Key, e.Err)
	}
	return fmt.Sprintf("chunk %q: %s: %v", e.Key, e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *ChunkError) Unwrap() error { return e.Err }

// BatchError lists every chunk of a batch that failed, in the order of the request. The others
// succeeded: GetChunks returned them, PutChunks stored them.
type BatchError struct {
	Requested int // chunks in the batch
	Failed    []*ChunkError
}

const errorsShown = 3 // of a message; chunkring's own log has a line for each

// Error gives the counts and the first few failures.
func (e *BatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d chunks failed", len(e.Failed), e.Requested)
	if len(e.Failed) > 0 && allCtx(e) { // the caller gave up: which chunks says nothing
		fmt.Fprintf(&b, ": %v", e.Failed[0].Err)
		return b.String()
	}
	for i, f := range e.Failed {
		if i == errorsShown {
			fmt.Fprintf(&b, "; and %d more", len(e.Failed)-errorsShown)
			break
		}
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(f.Error())
	}
	return b.String()
}

func allCtx(err *BatchError) bool {
	for _, f := range err.Failed {
		if !ctxError(f.Err) {
			return false
		}
	}
	return true
}

// Unwrap returns the failures, so that errors.Is and errors.As look into each.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f
	}
	return errs
}

// isNotFound reports whether all that err says is that chunks don't exist.
func isNotFound(err error) bool {
	var be *BatchError
	if errors.As(err, &be) {
		for _, f := range be.Failed {
			if !errors.Is(f.Err, fs.ErrNotExist) {
				return false
			}
		}
		return len(be.Failed) > 0
	}
	return errors.Is(err, fs.ErrNotExist) || os.IsNotExist(pkgerrors.Cause(err))
}

// fileError turns what became of a file into a cause; nil for bytes that may be decoded.
func fileError(ctx context.Context, f *core.File, path string) error {
	pathError := func(op string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }
	switch f.Status {
	case core.OK:
		return nil
	case core.NotFound:
		return pathError("open", syscall.ENOENT)
	case core.IO:
		return pathError(f.Op.String(), f.Errno)
	case core.Canceled, core.TimedOut:
		if err := ended(ctx); err != nil {
			return err
		}
		if f.Status == core.TimedOut { // C's clock was first
			return context.DeadlineExceeded
		}
		return context.Canceled
	case core.Refused:
		return pathError("open", fmt.Errorf("%w: it crosses a symbolic link or leaves the store (%w)", ErrRefused, f.Errno))
	case core.BadPath:
		return pathError("open", fmt.Errorf("%w: it is too long or has an empty, \".\" or \"..\" component or a NUL", ErrRefused))
	case core.NotRegular:
		return pathError("open", ErrNotRegular)
	case core.TooBig:
		return pathError("open", fmt.Errorf("%w: raise max_chunk_bytes if it is a real chunk", ErrTooBig))
	case core.Short:
		return fmt.Errorf("%w: %w", chunk.ErrInvalidChecksum, errShrinking)
	case core.BadCRC:
		return checksumError(f.GotCRC, f.CRC, len(f.Buf))
	case core.BadFormat:
		return fmt.Errorf("%w: %w", ErrMalformed, malformation(f))
	}
	return fmt.Errorf("unexpected status %v", f.Status) // NoBuffer, TooSmall: our own mistake
}

// ended is why ctx is over, nil if it is not: its error and, with it, the cause that somebody gave.
func ended(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); err != nil && cause != err {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

func checksumError(got, want uint32, size int) error {
	if size == 0 {
		return fmt.Errorf("%w: %w", chunk.ErrInvalidChecksum, errEmpty)
	}
	return fmt.Errorf("%w: CRC32C of its %d bytes is %08x, its name says %08x", chunk.ErrInvalidChecksum, size, got, want)
}
