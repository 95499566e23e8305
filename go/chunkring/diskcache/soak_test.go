// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
)

// soakEnv is how long TestSoak runs, as 30m.
const soakEnv = "CHUNKRING_CACHE_SOAK"

const (
	soakSeconds = 2
	soakReaders = 4
	soakHot     = 60 // chunks that half of what is asked for is of
	soakFails   = 300
	foreignName = "foreign"
)

var errOrigin = errors.New("the object store has a bad moment")

// soaking is a cache of 1 % of the data, and all that happens to it at the same time: readers, an object store that
// fails now and then, somebody who damages files, and restarts.
type soaking struct {
	chunks []chunk.Chunk
	bytes  map[logproto.ChunkRef][]byte
	origin *origin
	cfg    Config
	client atomic.Pointer[Client]
	still  sync.Mutex // held while files are damaged or counted, and while there is no client

	failed  sync.Map // refs that the origin once failed to give
	touched sync.Map // paths of files that were damaged

	calls, got, restarts, looks atomic.Int64
	originFailures, cancelled   atomic.Int64
	stopped                     map[string]float64 // what clients counted that were stopped

	mu    sync.Mutex
	wrong []string
}

func newSoaking(t *testing.T) *soaking {
	s := &soaking{cfg: configOf(t.TempDir()), bytes: map[logproto.ChunkRef][]byte{}, stopped: map[string]float64{}}
	for _, kind := range [][2]int{{800, 2000}, {400, 9000}, {100, 30000}} {
		s.chunks = append(s.chunks, someChunks(t, kind[0], kind[1])...)
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(s.chunks), func(i, k int) { s.chunks[i], s.chunks[k] = s.chunks[k], s.chunks[i] })
	all := uint64(0)
	for i := range s.chunks {
		data := encoded(t, s.chunks[i])
		s.bytes[s.chunks[i].ChunkRef] = data
		all += allocated(int64(len(data)), 0)
	}
	s.cfg.MaxBytes = bytesSize(int(all / 100))
	s.origin = originOf(t, s.chunks)
	s.origin.hook(func(ctx context.Context, ref logproto.ChunkRef) error {
		switch rand.IntN(soakFails) {
		case 0:
			s.failed.Store(ref, true)
			s.originFailures.Add(1)
			return errOrigin
		case 1, 2, 3:
			select {
			case <-time.After(time.Duration(rand.IntN(1000)) * time.Microsecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return s
}

func (s *soaking) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) < 20 {
		s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
	}
}

func (s *soaking) open() error {
	c, err := New(s.cfg, s.origin, schema, bucket, nil, nil)
	if err != nil {
		return err
	}
	c.queue.mu.Lock()
	c.queue.max = int(s.cfg.MaxBytes) // so that it is full now and then
	c.queue.mu.Unlock()
	s.client.Store(c)
	return nil
}

// counted is what a client counted.
func counted(c *Client) map[string]float64 {
	m := c.metrics
	return map[string]float64{"hits": value(m.chunks[resultHit]), "copies written": value(m.written), "copies evicted": value(m.evicted),
		"copies found damaged": value(m.damaged), "chunks that calls shared": value(m.chunks[resultShared])}
}

// stop stops the client, and adds up what it counted.
func (s *soaking) stop() {
	c := s.client.Load()
	c.Stop()
	for what, n := range counted(c) {
		s.stopped[what] += n
	}
}

// events is how often each thing happened that the soak is about. s.still is held, or nothing runs.
func (s *soaking) events() map[string]float64 {
	all := map[string]float64{
		"chunks compared": float64(s.got.Load()), "failures of the object store": float64(s.originFailures.Load()),
		"calls that ended early": float64(s.cancelled.Load()), "restarts": float64(s.restarts.Load()), "looks at the disk": float64(s.looks.Load()),
	}
	for what, n := range s.stopped {
		all[what] = n
	}
	return all
}

// awaitEvents waits until each has happened, on a machine that is slow or busy.
func (s *soaking) awaitEvents(t *testing.T) {
	t.Helper()
	begin := time.Now()
	for rare := ""; ; time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Errorf("it never came to: %s", rare)
			return
		}
		rare = ""
		s.still.Lock()
		for what, n := range s.events() {
			if n == 0 {
				rare = what
			}
		}
		s.still.Unlock()
		if rare == "" {
			return
		}
	}
}

// reader asks for chunks, half of them out of a few, and compares each with the object store's.
func (s *soaking) reader(ctx context.Context) {
	for ctx.Err() == nil {
		asked := make([]chunk.Chunk, 1+rand.IntN(16))
		for i := range asked {
			from := s.chunks
			if rand.IntN(2) == 0 {
				from = s.chunks[:soakHot]
			}
			asked[i] = chunk.Chunk{ChunkRef: from[rand.IntN(len(from))].ChunkRef}
		}
		call, cancel := context.WithCancel(context.Background()) // the end of the run is no cancel
		if rand.IntN(16) == 0 {
			call, cancel = context.WithTimeout(context.Background(), time.Duration(rand.IntN(500))*time.Microsecond)
		}
		got, err := s.client.Load().GetChunks(call, asked)
		s.check(call, asked, got, err)
		cancel()
		if errors.Is(err, chunkring.ErrStopped) {
			time.Sleep(time.Millisecond) // until there is another client
		}
	}
}

// check compares an answer. What is missing has a reason that is the call's own, or a failure of the object store's.
func (s *soaking) check(call context.Context, asked, got []chunk.Chunk, err error) {
	s.calls.Add(1)
	stopped, ended := errors.Is(err, chunkring.ErrStopped), call.Err() != nil
	if ended {
		s.cancelled.Add(1)
	}
	if err != nil && !stopped && !errors.Is(err, errOrigin) && !(ended && errors.Is(err, call.Err())) {
		s.fail("an error of nobody's: %v", err)
	}
	for i := range asked {
		ref := asked[i].ChunkRef
		if len(got) == 0 || got[0].ChunkRef != ref {
			if _, failed := s.failed.Load(ref); err == nil || !stopped && !ended && !failed {
				s.fail("a chunk is missing; the call's error is %v", err)
			}
			continue
		}
		if data, err := got[0].Encoded(); err != nil || !bytes.Equal(data, s.bytes[ref]) {
			s.fail("WRONG BYTES: %v", err)
		}
		s.got.Add(1)
		got = got[1:]
	}
	if len(got) > 0 {
		s.fail("%d chunks that were not asked for, or out of order", len(got))
	}
}

// vandal damages a copy, or puts something else in its place for a while.
func (s *soaking) vandal(ctx context.Context) {
	for ctx.Err() == nil {
		path := filepath.Join(s.cfg.Directory, pathOf(schema, s.chunks[rand.IntN(2*soakHot)].ChunkRef))
		s.still.Lock()
		foreign := s.harm(path)
		s.still.Unlock()
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		if foreign != "" {
			_ = os.RemoveAll(foreign) // the cache may have deleted it
		}
	}
}

func (s *soaking) harm(path string) (foreign string) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	s.touched.Store(path, true)
	switch rand.IntN(6) {
	case 0:
		_ = os.Truncate(path, rand.Int64N(info.Size()))
	case 1:
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteAt([]byte{0xa5, 0x5a}, rand.Int64N(info.Size()-1))
			_ = f.Close()
		}
	case 2:
		_ = os.Remove(path)
	case 3:
		_ = os.Remove(path)
		_ = os.Symlink("/etc/passwd", path)
		return path
	case 4:
		_ = os.Remove(path)
		_ = os.MkdirAll(filepath.Join(path, foreignName), 0o700)
		return path
	case 5:
		foreign = filepath.Join(filepath.Dir(path), foreignName)
		_ = os.WriteFile(foreign, []byte("no chunk"), 0o600)
	}
	return foreign
}

// watcher looks again and again what the copies take, between two changes of the cache's.
func (s *soaking) watcher(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		s.still.Lock()
		c := s.client.Load()
		c.changes.Lock()
		held := s.held()
		_, known := c.index.held()
		walked := c.index.walked
		c.changes.Unlock()
		s.still.Unlock()
		s.looks.Add(1)
		if held > uint64(s.cfg.MaxBytes) || walked && held > known {
			s.fail("the copies take %d bytes; the limit is %d, and the index knows of %d", held, s.cfg.MaxBytes, known)
		}
	}
}

// held is what all files take that are not foreign.
func (s *soaking) held() (bytes uint64) {
	err := filepath.WalkDir(s.cfg.Directory, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (!e.Type().IsRegular() || e.Name() == markerName || e.Name() == foreignName) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // a damaged copy is deleted by who finds it
			return nil
		}
		if err == nil {
			bytes += sizeOf(info)
		}
		return err
	})
	if err != nil {
		s.fail("walk: %v", err)
	}
	return bytes
}

// restarter stops the client with calls inside, and opens another over the same folder.
func (s *soaking) restarter(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(50+rand.IntN(500)) * time.Millisecond):
		}
		if err := s.restart(); err != nil {
			s.fail("open it again: %v", err)
			return
		}
	}
}

func (s *soaking) restart() error {
	s.still.Lock()
	defer s.still.Unlock()
	s.stop()
	if held := s.held(); held > uint64(s.cfg.MaxBytes) {
		s.fail("at rest the copies take %d bytes of %d", held, s.cfg.MaxBytes)
	}
	s.restarts.Add(1)
	return s.open()
}

// sound compares all copies in the end, but those that were damaged.
func (s *soaking) sound(t *testing.T) (files int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(s.cfg.Directory, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == markerName || e.Name() == foreignName {
			return err
		}
		ref, ok := refOf(schema, strings.TrimPrefix(path, s.cfg.Directory+"/"))
		require.True(t, ok, "left behind: %s", path)
		if _, harmed := s.touched.Load(path); harmed {
			return nil
		}
		data, err := os.ReadFile(path)
		require.Equal(t, ref.Checksum, crc32.Checksum(data, castagnoli), path)
		files++
		return err
	}))
	return files
}

// A cache of 1 % of the data, for some seconds, or for longer: CHUNKRING_CACHE_SOAK=30m. Each chunk is compared with
// the object store's, and the copies never take more than they may.
func TestSoak(t *testing.T) {
	length := soakSeconds * time.Second
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	s := newSoaking(t)
	require.NoError(t, s.open())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range soakReaders {
		wg.Go(func() { s.reader(ctx) })
	}
	wg.Go(func() { s.vandal(ctx) })
	wg.Go(func() { s.watcher(ctx) })
	wg.Go(func() { s.restarter(ctx) })
	time.Sleep(length)
	s.awaitEvents(t)
	cancel()
	wg.Wait()
	s.stop()
	require.Positive(t, s.sound(t), "sound copies in the end")
	t.Logf("%d calls: %v", s.calls.Load(), s.events())
	require.Empty(t, s.wrong)
}
