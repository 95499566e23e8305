// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// stockPut does the system calls of the stock client: a file is created or truncated under its
// final name, written, synced. Nothing makes the name durable and nothing protects a reader.
func stockPut(dir, rel string, data []byte) error {
	file := filepath.Join(dir, rel)
	folder := filepath.Dir(file)
	if _, err := os.Stat(folder); err != nil {
		if err := os.MkdirAll(folder, folderMode); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// BenchmarkPut times a put of stock and one of ours in turn, so that both see the same disk, and
// reports the median of each and their ratio. "existing" puts new names into folders that exist,
// "replace" one name over and over, "newfolders" one file a folder. par goroutines put at once.
// Directory: CHUNKFILE_BENCH_DIR or the system's for temporary files.
func BenchmarkPut(b *testing.B) {
	names := map[string]func(i int) string{
		"existing":   func(i int) string { return fmt.Sprintf("t/f%d/%d", i%16, i) },
		"replace":    func(i int) string { return fmt.Sprintf("t/f%d/same", i%16) },
		"newfolders": func(i int) string { return fmt.Sprintf("t/f%d/c", i) },
	}
	for _, size := range []int{4 << 10, 900 << 10} {
		for _, kind := range []string{"existing", "replace", "newfolders"} {
			for _, par := range []int{1, 16} {
				b.Run(fmt.Sprintf("%dKB/%s/par%d", size>>10, kind, par), func(b *testing.B) {
					benchPut(b, size, par, names[kind])
				})
			}
		}
	}
}

func benchPut(b *testing.B, size, par int, name func(int) string) {
	base, err := os.MkdirTemp(os.Getenv("CHUNKFILE_BENCH_DIR"), "chunkfile-bench")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(base)
	d := mustOpen(b, base+"/ours")
	data := content(1, size)
	puts := []func(rel string) error{
		func(rel string) error { return stockPut(base+"/stock", rel, data) },
		func(rel string) error { return d.Put(ctx, rel, data) },
	}
	for i := range 16 { // folders exist, caches are warm
		for _, put := range puts {
			if err := put(name(-i - 1)); err != nil {
				b.Fatal(err)
			}
		}
	}
	took := [2][]time.Duration{}
	for i := range b.N {
		for turn := range 2 {
			which := (i + turn) % 2 // neither is always first
			var wg sync.WaitGroup
			start := time.Now()
			for j := range par {
				wg.Go(func() {
					if err := puts[which](name(i*par + j)); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			took[which] = append(took[which], time.Since(start)/time.Duration(par))
		}
	}
	reportPair(b, took)
}

func reportPair(b *testing.B, took [2][]time.Duration) {
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Nanoseconds()) / 1e3
	}
	stock, ours := median(took[0]), median(took[1])
	b.ReportMetric(stock, "stock-us")
	b.ReportMetric(ours, "ours-us")
	b.ReportMetric(ours/stock, "x")
	b.ReportMetric(0, "ns/op")
}

// stockDelete does the system calls of the stock client for a file in a folder with other files.
func stockDelete(file string) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	f, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Readdir(1)
	return err
}

func BenchmarkDelete(b *testing.B) {
	for _, files := range []int{2, 10000} {
		b.Run(fmt.Sprintf("folder%d", files), func(b *testing.B) {
			base, err := os.MkdirTemp(os.Getenv("CHUNKFILE_BENCH_DIR"), "chunkfile-bench")
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(base)
			d := mustOpen(b, base)
			if err := os.MkdirAll(base+"/t/f", folderMode); err != nil {
				b.Fatal(err)
			}
			create := func(name string) {
				if err := os.WriteFile(base+"/t/f/"+name, []byte("x"), fileMode); err != nil {
					b.Fatal(err)
				}
			}
			for i := range files {
				create(fmt.Sprint(i))
			}
			deletes := []func() error{
				func() error { return stockDelete(base + "/t/f/c") },
				func() error { return d.Delete("t/f/c") },
			}
			took := [2][]time.Duration{}
			for i := range b.N {
				for turn := range 2 {
					which := (i + turn) % 2
					create("c")
					start := time.Now()
					if err := deletes[which](); err != nil {
						b.Fatal(err)
					}
					took[which] = append(took[which], time.Since(start))
				}
			}
			reportPair(b, took)
		})
	}
}

// BenchmarkCleanTemporaries: one run is 10,000 folders of one file.
func BenchmarkCleanTemporaries(b *testing.B) {
	base, err := os.MkdirTemp(os.Getenv("CHUNKFILE_BENCH_DIR"), "chunkfile-bench")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(base)
	d := mustOpen(b, base)
	for i := range 10000 {
		folder := fmt.Sprintf("%s/t/f%d", base, i)
		if err := os.MkdirAll(folder, folderMode); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(folder+"/c", nil, fileMode); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := d.CleanTemporaries(ctx, 0, everywhere); err != nil {
			b.Fatal(err)
		}
	}
}
