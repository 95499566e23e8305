// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/loki/pkg/push"
	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// fakeLoki takes pushes, and answers about the stream 0-0.
type fakeLoki struct {
	*httptest.Server
	refuse atomic.Int32 // this many pushes
	code   int          // with this status
	pushes atomic.Int32
	lines  [][2]string
}

func newFakeLoki(t *testing.T) (*fakeLoki, *lokiproc.Proc) {
	f := &fakeLoki{}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f, procAt(f.Listener.Addr())
}

func procAt(addr net.Addr) *lokiproc.Proc {
	return &lokiproc.Proc{Label: "fake", Cfg: lokiproc.Config{HTTP: addr.(*net.TCPAddr).Port}}
}

func (f *fakeLoki) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/loki/api/v1/push":
		f.pushes.Add(1)
		if f.refuse.Add(-1) >= 0 {
			w.WriteHeader(f.code)
			return
		}
		if err := f.take(r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	case "/loki/api/v1/query":
		fmt.Fprintf(w, `{"data":{"result":[{"value":[0,"%d"]}]}}`, len(f.lines))
	case "/loki/api/v1/query_range":
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"result": []any{map[string]any{"values": f.lines}}}})
	}
}

func (f *fakeLoki) take(body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if data, err = snappy.Decode(nil, data); err != nil {
		return err
	}
	var req push.PushRequest
	if err := req.Unmarshal(data); err != nil {
		return err
	}
	for _, s := range req.Streams {
		if !strings.Contains(s.Labels, `instance="0-0"`) {
			continue
		}
		for _, e := range s.Entries {
			f.lines = append(f.lines, [2]string{strconv.FormatInt(e.Timestamp.UnixNano(), 10), e.Line})
		}
	}
	return nil
}

func TestClientsFindLinesThatAreLostOrThereTwice(t *testing.T) {
	f, p := newFakeLoki(t)
	c := &clients{start: time.Now().Truncate(time.Second), toWriters: balancer{procs: []*lokiproc.Proc{p}}}
	for from := int64(0); from < 30; from += batchLines {
		require.NoError(t, c.pushUntilTaken(t.Context(), c.batch(0, from)))
	}
	all := f.lines
	require.Len(t, all, 30)
	check := func() (error, error) {
		return c.counts(t.Context(), p, 0, 0, 30), c.hasLines(t.Context(), p, 0, 0, 0, 30)
	}
	count, lines := check()
	require.NoError(t, count)
	require.NoError(t, lines)

	f.lines = append(append([][2]string{}, all[:7]...), all[8:]...)
	count, lines = check()
	require.ErrorContains(t, count, "30 lines were taken, 29 are counted")
	require.ErrorContains(t, lines, "the answer has 29 lines, and at "+strconv.Quote(all[7][0]+" "+all[7][1]))

	f.lines = append(append([][2]string{}, all...), all[3])
	count, lines = check()
	require.ErrorContains(t, count, "30 lines were taken, 31 are counted")
	require.ErrorContains(t, lines, "the answer has 31 lines")

	c.mixed.Store(true) // a count may be too high, not too low; lines are as exact as ever
	count, lines = check()
	require.NoError(t, count)
	require.Error(t, lines)
	f.lines = all[1:]
	count, _ = check()
	require.Error(t, count)
}

func TestPushesAreRepeatedAsPromtailDoes(t *testing.T) {
	for code, repeated := range map[int]bool{500: true, 503: true, 429: true, 400: false} {
		f, p := newFakeLoki(t)
		f.code = code
		f.refuse.Store(2)
		c := &clients{toWriters: balancer{procs: []*lokiproc.Proc{p}}}
		err := c.pushUntilTaken(t.Context(), c.batch(0, 0))
		if repeated {
			require.NoError(t, err, code)
			require.EqualValues(t, 3, f.pushes.Load(), code)
			require.EqualValues(t, 2, c.repeated.Load(), code)
		} else {
			require.ErrorContains(t, err, strconv.Itoa(code))
			require.EqualValues(t, 1, f.pushes.Load(), code)
		}
	}
}

func TestBalancerPassesOverWhoIsNotThereOrNotReady(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	starting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	defer starting.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer broken.Close()
	f, sound := newFakeLoki(t)
	f.lines = [][2]string{{"1", "a line"}}
	ask := func(b *balancer) error {
		return b.send(func(p *lokiproc.Proc) error {
			_, err := lokiproc.Ask(t.Context(), p, "", lokiproc.Instant("one", time.Now(), "one"))
			return err
		})
	}
	for _, bad := range []net.Addr{gone.Addr(), starting.Listener.Addr()} {
		b := &balancer{procs: []*lokiproc.Proc{procAt(bad), sound}}
		require.NoError(t, ask(b))
		require.NoError(t, ask(b))
		require.EqualValues(t, 1, b.passed.Load(), "each is the first in its turn")
		b.procs = b.procs[:1]
		require.ErrorContains(t, ask(b), "no process took it")
	}
	b := &balancer{procs: []*lokiproc.Proc{procAt(broken.Listener.Addr()), sound}}
	require.Error(t, errors.Join(ask(b), ask(b)), "another failure is the query's")
}
