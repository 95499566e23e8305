// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/logql/log"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// Bounds on a child that decodes a hostile file. Decode takes microseconds and kilobytes for any
// file of the corpus, so whoever meets these would have hung or taken all memory.
const (
	stockSeconds = 10
	stockMemory  = 4 << 30
	detailMax    = 120 // bytes of an error's text that are kept
)

// Outcome is what stock Loki does with a file: chunk.Decode first and, where that succeeds, a read
// of all lines.
type Outcome struct {
	Decode  string `json:"decode"`
	Detail  string `json:"detail,omitempty"` // the error or panic
	Iterate string `json:"iterate,omitempty"`
	Entries int    `json:"entries"` // lines read
}

// stockRequest is what the child is told on its standard input.
type stockRequest struct {
	Path string
	Ref  Ref
}

// Stock runs `exe arg...`, which must call StockChild, and asks it about one file. Only a failure to
// run the child is an error; whatever the file does to it is an Outcome.
func Stock(exe string, arg ...string) func(ctx context.Context, path string, ref Ref) (Outcome, error) {
	return func(ctx context.Context, path string, ref Ref) (Outcome, error) {
		ctx, cancel := context.WithTimeout(ctx, stockSeconds*time.Second)
		defer cancel()
		request, err := json.Marshal(stockRequest{path, ref})
		if err != nil {
			return Outcome{}, err
		}
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, exe, arg...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(request), &stdout, &stderr
		err = cmd.Run()

		died := ""
		var exit *exec.ExitError
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			died = fmt.Sprintf("no answer in %d s", stockSeconds)
		case errors.As(err, &exit) && strings.Contains(stderr.String(), "out of memory"):
			died = fmt.Sprintf("out of memory at %d GiB", stockMemory>>30)
		case err != nil:
			return Outcome{}, fmt.Errorf("%s: child: %w: %.2000s", path, err, stderr.String())
		}
		var out Outcome // the last line counts
		for dec := json.NewDecoder(&stdout); dec.More(); {
			if err := dec.Decode(&out); err != nil {
				return out, err
			}
		}
		if died != "" {
			out.Detail = died
			if out.Decode == "" {
				out.Decode = StockHangOrOOM
			} else {
				out.Iterate = StockHangOrOOM
			}
		}
		return out, nil
	}
}

// StockChild is the child's side of Stock: it limits its own memory, reads a request and writes an
// Outcome after Decode and another after all lines were read, since it may die between. The parent
// sees to the time.
func StockChild(in io.Reader, out io.Writer) error {
	limit := unix.Rlimit{Cur: stockMemory, Max: stockMemory}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &limit); err != nil {
		return err
	}
	// The throw of an exhausted Go heap would leave a core file otherwise.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	var request stockRequest
	if err := json.NewDecoder(in).Decode(&request); err != nil {
		return err
	}
	b, err := os.ReadFile(request.Path)
	if err != nil {
		return err
	}
	c, result := DecodeStock(request.Ref, b)
	enc := json.NewEncoder(out)
	if err := enc.Encode(result); err != nil || result.Decode != StockSucceeds {
		return err
	}
	result.Iterate, result.Detail = outcome(func() error {
		return Lines(c, func(logproto.Entry) { result.Entries++ })
	})
	return enc.Encode(result)
}

// DecodeStock is stock's Decode of a file, asked for by ref, in this process. A panic becomes an
// Outcome; a hang or an exhausted memory does not, so unknown files belong to Stock.
func DecodeStock(ref Ref, b []byte) (chunk.Chunk, Outcome) {
	c := ref.Chunk()
	var out Outcome
	out.Decode, out.Detail = outcome(func() error {
		return c.Decode(chunk.NewDecodeContext(), b[:len(b):len(b)])
	})
	return c, out
}

// Lines reads all log lines of a decoded chunk the way a query does.
func Lines(c chunk.Chunk, each func(logproto.Entry)) error {
	facade, ok := c.Data.(*chunkenc.Facade)
	if !ok {
		return fmt.Errorf("chunk data is a %T", c.Data)
	}
	pipeline := log.NewNoopPipeline().ForStream(labels.EmptyLabels())
	// The bounds take in every block, whatever times it claims.
	from, through := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)
	it, err := facade.LokiChunk().Iterator(context.Background(), from, through, logproto.FORWARD, pipeline)
	if err != nil {
		return err
	}
	defer it.Close()
	for it.Next() {
		each(it.At())
	}
	return it.Err()
}

// outcome runs do and says how it ended, and the first words of why.
func outcome(do func() error) (result, detail string) {
	defer func() {
		if p := recover(); p != nil {
			result, detail = StockPanic, fmt.Sprint(p)
		}
		detail = strings.ToValidUTF8(detail[:min(len(detail), detailMax)], "?")
	}()
	if err := do(); err != nil {
		return StockError, err.Error()
	}
	return StockSucceeds, ""
}
