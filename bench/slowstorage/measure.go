// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/bench/internal/childproc"
	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/stats"
	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/slowfs"
)

const (
	roundsMin  = 5
	roundsMax  = 25
	repeatsMax = 3 // of a sample that is void
	watches    = 2 // GetChunks whose threads are counted, and that are not timed
)

// driver measures points.
type driver struct {
	exe  string // of this program
	opts options
}

// process is a child of this program.
type process struct {
	*childproc.Process
	name    string
	backend string
}

// reader is one reader at one point, and its samples.
type reader struct {
	*process
	partly        bool // it reads parts of chunks
	walls, ratios []float64
	reads, opens  []float64 // READs and OPENs a file
	kb            []float64 // that came from the storage, a file
	underWay      int
	kinds         kinds // the same for each kind of request
	tasks         tasks
}

// start starts this program in another role, and waits until it is ready. A cmd with a SysProcAttr is not
// killed with its parent.
func (d *driver) start(ctx context.Context, role, name string, cfg any, attr *unix.SysProcAttr) (*process, error) {
	arg, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, d.exe, role, string(arg))
	cmd.SysProcAttr = attr
	p := &process{name: name}
	if p.Process, err = childproc.Start(name, cmd); err != nil {
		return nil, err
	}
	var hello reply
	if err := errors.Join(p.Receive(&hello), p.failure(hello)); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	p.backend = hello.Backend
	return p, nil
}

func (p *process) failure(rep reply) error {
	if rep.Err != "" {
		return fmt.Errorf("%s: %s", p.name, rep.Err)
	}
	return nil
}

func (p *process) do(what string) (rep reply, err error) {
	err = p.Ask(request{Do: what}, &rep)
	return rep, errors.Join(err, p.failure(rep))
}

// turn has a reader do something while all others are frozen.
func (r *reader) turn(what string) (reply, error) {
	if err := r.Thaw(); err != nil {
		return reply{}, err
	}
	rep, err := r.do(what)
	return rep, errors.Join(err, r.Freeze())
}

// point measures one point: all readers are compared with stock, then they read in turns.
func (d *driver) point(ctx context.Context, p point, x *chunkgen.Index) (m *measured, err error) {
	at, err := os.MkdirTemp("", "chunkring-slow-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(at)) }()
	// It ends when its input does, whatever happens to the driver: no kill could unmount.
	storage, err := d.start(context.WithoutCancel(ctx), roleServe, "the storage",
		serveConfig{Dir: x.Dir(), At: at, Latency: p.latency, CacheTime: d.opts.cacheTime}, &unix.SysProcAttr{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, storage.Stop()) }() // after the readers, whose folder is open
	var readers []*reader
	defer func() {
		for _, r := range readers {
			_ = r.Stop() // one that failed has said so
		}
	}()
	for _, c := range contenders(d.opts.readers, p) {
		child, err := d.start(ctx, roleRead, c.name, readConfig{Index: x.Dir(), Dir: at, Peer: c.peer, Files: p.files, Span: p.span, Partly: c.partly}, nil)
		if err != nil {
			return nil, err
		}
		readers = append(readers, &reader{process: child, partly: c.partly, kinds: kinds{}})
		if err := child.Freeze(); err != nil {
			return nil, err
		}
	}
	s := &session{storage: storage, readers: readers, files: x.Refs[:p.files]}
	if err := s.compare(); err != nil {
		return nil, err
	}
	if err := s.watch(); err != nil {
		return nil, err
	}
	if err := s.rounds(ctx, d.opts.cap, cli.Progress(p.title())); err != nil {
		return nil, err
	}
	return s.measured(p), nil
}

// contender is a reader, and whether it may read parts of chunks.
type contender struct {
	name, peer string
	partly     bool
}

// contenders are the readers, and those of chunkring once more where there is a part to read.
func contenders(readers []string, p point) (all []contender) {
	for _, name := range readers {
		all = append(all, contender{name: name, peer: name})
	}
	for _, name := range readers {
		if p.span > 0 && (name == peers.Threads || name == peers.URing) {
			all = append(all, contender{name: name + ", parts", peer: name, partly: true})
		}
	}
	return all
}

// session is one point while it is measured.
type session struct {
	storage *process
	readers []*reader
	files   []chunkgen.Ref // of the batch
	void    int            // samples
	done    int            // rounds
}

// compare fails where a reader returns anything else than stock, the first.
func (s *session) compare() error {
	var want string
	for i, r := range s.readers {
		rep, err := r.turn(doDigest)
		switch {
		case err != nil:
			return err
		case rep.Digest == "":
			return fmt.Errorf("%s returned nothing to compare", r.name)
		case i == 0:
			want = rep.Digest
		case rep.Digest != want:
			return fmt.Errorf("%s returned other chunks than stock", r.name)
		}
	}
	return nil
}

// watch counts each reader's threads while it reads.
func (s *session) watch() error {
	for _, r := range s.readers {
		for range watches {
			stop := watchTasks(r.PID())
			_, _, err := s.sample(r)
			seen, failed := stop()
			if err := errors.Join(err, failed); err != nil {
				return err
			}
			r.tasks = r.tasks.most(seen)
		}
	}
	return nil
}

// rounds has all readers read in turns, in another order each round, so that whatever else the machine does
// hits all alike.
func (s *session) rounds(ctx context.Context, limit time.Duration, step func(done, total int)) error {
	begin := time.Now()
	for s.done < roundsMax && (s.done < roundsMin || time.Since(begin) < limit) {
		walls := make([]float64, len(s.readers))
		for _, i := range rand.New(rand.NewPCG(uint64(s.done), uint64(len(s.files)))).Perm(len(s.readers)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			r := s.readers[i]
			wall, counts, err := s.sample(r)
			if err != nil {
				return err
			}
			walls[i] = wall.Seconds() * 1e3
			after, err := countTasks(r.PID()) // a thread outlives its work by some time
			if err != nil {
				return err
			}
			r.tasks = r.tasks.most(after)
			r.underWay = max(r.underWay, counts.Most)
			for op, n := range counts.UnderWay {
				r.kinds[op] = max(r.kinds[op], n)
			}
			s.count(r, counts)
		}
		for i, r := range s.readers {
			r.walls, r.ratios = append(r.walls, walls[i]), append(r.ratios, walls[0]/walls[i])
		}
		s.done++
		step(s.done, roundsMax)
	}
	step(roundsMax, roundsMax)
	return nil
}

// sample has a reader read the batch, of which the kernel knows nothing, once.
func (s *session) sample(r *reader) (time.Duration, slowfs.Counts, error) {
	for repeated := 0; ; repeated++ {
		if _, err := s.storage.do(doForget); err != nil {
			return 0, slowfs.Counts{}, err
		}
		rep, err := r.turn(doGet)
		if err != nil {
			return 0, slowfs.Counts{}, err
		}
		counted, err := s.storage.do(doCounts)
		if err != nil {
			return 0, slowfs.Counts{}, err
		}
		why := isVoid(s.files, counted.Counts, r.partly)
		if why == nil {
			return rep.Wall, counted.Counts, nil
		}
		s.void++
		if repeated == repeatsMax {
			return 0, slowfs.Counts{}, fmt.Errorf("%s, again and again: %w", r.name, why)
		}
	}
}

// isVoid says why a sample is none: something came from a cache, or parts were to be read and were not.
func isVoid(files []chunkgen.Ref, counts slowfs.Counts, partly bool) error {
	for _, f := range files {
		switch c := counts.Files[f.Path]; {
		case c.Lookups == 0:
			return fmt.Errorf("%s was not looked up in the storage", f.Path)
		case c.Opens == 0:
			return fmt.Errorf("%s was not opened in the storage", f.Path)
		case partly && (c.Bytes == 0 || c.Bytes >= int64(f.Size)):
			return fmt.Errorf("%d of the %d bytes of %s came from the storage, and a part of them was to", c.Bytes, f.Size, f.Path)
		case !partly && c.Bytes < int64(f.Size):
			return fmt.Errorf("%d of the %d bytes of %s came from the storage", c.Bytes, f.Size, f.Path)
		}
	}
	return nil
}

// count notes what a sample took of the storage, for each file.
func (s *session) count(r *reader, counts slowfs.Counts) {
	var reads, opens, bytes float64
	for _, f := range s.files {
		c := counts.Files[f.Path]
		reads, opens, bytes = reads+float64(c.Reads), opens+float64(c.Opens), bytes+float64(c.Bytes)
	}
	n := float64(len(s.files))
	r.reads, r.opens, r.kb = append(r.reads, reads/n), append(r.opens, opens/n), append(r.kb, bytes/1e3/n)
}

func (s *session) measured(p point) *measured {
	m := &measured{LatencyMS: p.latency.Seconds() * 1e3, Size: p.size, Files: p.files, SpanS: p.span.Seconds(), Rounds: s.done, Void: s.void, title: p.title()}
	for _, r := range s.readers {
		m.Readers = append(m.Readers, row{Name: r.name, Backend: r.backend, Wall: stats.Of(r.walls), Ratio: stats.Of(r.ratios),
			Reads: stats.Of(r.reads).P50, Opens: stats.Of(r.opens).P50, KB: stats.Of(r.kb).P50, UnderWay: r.underWay, Kinds: r.kinds, Tasks: r.tasks})
	}
	return m
}
