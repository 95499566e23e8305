// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Readers never miss a file that is being replaced, never see a part of it, never go back in time.
func TestReplaceIsAtomicForReaders(t *testing.T) {
	dir := fastDir(t)
	d := mustOpen(t, dir)
	const puts, readers = 3000, 3
	put := func(g uint64) error { return d.Put(ctx, "t/f/c", content(g, 3000+int(g%7)*9000)) }
	require.NoError(t, put(0))
	var done atomic.Bool
	var reads atomic.Int64
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for last := uint64(0); !done.Load() && !t.Failed(); reads.Add(1) {
				b, err := os.ReadFile(dir + "/t/f/c")
				if err != nil {
					t.Error(err)
					return
				}
				g, err := parse(b)
				if err != nil || g < last {
					t.Errorf("generation %d after %d: %v", g, last, err)
				}
				last = g
			}
		})
	}
	for g := uint64(1); g <= puts && !t.Failed(); g++ {
		if err := put(g); err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	wg.Wait()
	t.Logf("%d puts, %d reads", puts, reads.Load())
}

// Puts and deletes that make and remove the same folders all the time. Each goroutine owns one
// name, so it knows what must be there. Two Dirs share no locks: they are two processes.
func TestPutAgainstDelete(t *testing.T) {
	for name, dirs := range map[string]int{"one process": 1, "two processes": 2} {
		t.Run(name, func(t *testing.T) {
			root := fastDir(t)
			const goroutines, rounds = 8, 400
			var wg sync.WaitGroup
			var opens atomic.Int64
			for i := range dirs {
				d := mustOpen(t, root)
				d.fault = func(s step) error {
					if s == stepOpenFolder {
						opens.Add(1)
					}
					return nil
				}
				for j := range goroutines {
					rel := fmt.Sprintf("t/f/%d-%d", i, j)
					wg.Go(func() { putDelete(t, d, rel, rounds) })
				}
			}
			wg.Wait()
			total := int64(dirs * goroutines * rounds)
			t.Logf("%d puts and deletes, %.2f folder opens each", 2*total, float64(opens.Load())/float64(2*total))
			require.NoDirExists(t, filepath.Join(root, "t"), "the last delete removes the folders")
			require.DirExists(t, root)
		})
	}
}

func putDelete(t *testing.T, d *Dir, rel string, rounds int) {
	for g := range uint64(rounds) {
		if err := d.Put(ctx, rel, content(g, 100)); err != nil {
			t.Errorf("put: %v", err)
			return
		}
		b, err := os.ReadFile(d.Path() + "/" + rel)
		if err != nil {
			t.Errorf("acknowledged, not deleted, not there: %v", err)
			return
		}
		if got, err := parse(b); err != nil || got != g {
			t.Errorf("generation %d, want %d: %v", got, g, err)
		}
		if err := d.Delete(rel); err != nil {
			t.Errorf("delete: %v", err)
			return
		}
		if err := d.Delete(rel); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("second delete: %v", err)
		}
	}
}

// Many goroutines on one name: the only error is not-found on delete, what stays is whole.
func TestSameName(t *testing.T) {
	d := mustOpen(t, fastDir(t))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for g := range uint64(200) {
				if i%2 == 0 {
					if err := d.Put(ctx, "t/f/c", content(g, int(100*g))); err != nil {
						t.Error(err)
					}
				} else if err := d.Delete("t/f/c"); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				if b, err := os.ReadFile(d.Path() + "/t/f/c"); err == nil {
					if _, err = parse(b); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, d.Put(ctx, "t/f/c", content(1, 1)))
	require.Empty(t, temporaries(t, d.Path()))
}

// Close waits for what runs; nothing runs on a reused fd number.
func TestCloseAgainstPut(t *testing.T) {
	for range 20 {
		d, err := Open(fastDir(t))
		require.NoError(t, err)
		var wg sync.WaitGroup
		for j := range 4 {
			wg.Go(func() {
				for {
					if err := d.Put(ctx, fmt.Sprintf("t/%d", j), content(1, 10)); err != nil {
						if !errors.Is(err, fs.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		time.Sleep(time.Millisecond)
		require.NoError(t, d.Close())
		wg.Wait()
	}
}

// What begins while Close waits for a put fails at once instead of waiting behind it.
func TestCallsWhileCloseWaits(t *testing.T) {
	d, err := Open(fastDir(t))
	require.NoError(t, err)
	inside, goOn := make(chan struct{}), make(chan struct{})
	d.fault = func(s step) error {
		if s == stepRename {
			close(inside)
			<-goOn
		}
		return nil
	}
	put, closed := make(chan error, 1), make(chan error, 1)
	go func() { put <- d.Put(ctx, "t/f/c", content(1, 100)) }()
	<-inside
	go func() { closed <- d.Close() }()
	require.Eventually(t, func() bool {
		free := d.life.Enter()
		if free {
			d.life.Leave()
		}
		return !free
	}, 10*time.Second, time.Millisecond, "Close waits")
	for name, call := range map[string]func() error{
		"Put":           func() error { return d.Put(ctx, "x", nil) },
		"Delete":        func() error { return d.Delete("x") },
		"CheckWritable": d.CheckWritable,
		"CleanTemporaries": func() error {
			_, err := d.CleanTemporaries(ctx, 0, everywhere)
			return err
		},
	} {
		done := make(chan error, 1)
		go func() { done <- call() }()
		select {
		case err := <-done:
			require.ErrorIs(t, err, fs.ErrClosed, name)
		case <-time.After(10 * time.Second):
			t.Fatalf("%s waits behind Close", name)
		}
	}
	select {
	case <-closed:
		t.Fatal("closed with a put inside")
	default:
	}
	close(goOn)
	require.NoError(t, <-put)
	require.NoError(t, <-closed)
	requireFile(t, d.Path()+"/t/f/c", content(1, 100))
}
