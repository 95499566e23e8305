// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// flights are the chunks that are being fetched from the origin now.
type flights struct {
	mu      sync.Mutex
	open    map[logproto.ChunkRef]*flight
	boarded atomic.Int64 // calls; for tests
}

// flight is one chunk that a call fetches, and for which others may wait.
type flight struct {
	done chan struct{} // closed when the rest is final
	data []byte        // the chunk's bytes, if it was fetched
	err  error         // else why not, if that is known
	gone bool          // else: who fetched it gave up, somebody else must
}

// landed is the done of a flight that is over before anybody waits.
var landed = func() chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}()

// board splits chunks (indexes of all) into those that the caller must fetch and those that are on the way, or
// fetched and not written yet.
func (c *cache) board(all []chunk.Chunk, chunks []int) (lead, wait []int, flights map[int]*flight) {
	flights = make(map[int]*flight, len(chunks))
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	c.flights.boarded.Add(1)
	for _, i := range chunks {
		ref := all[i].ChunkRef
		other := c.flights.open[ref]
		if data := c.queue.find(ref); other == nil && data != nil {
			other = &flight{done: landed, data: data}
		}
		if other != nil {
			wait = append(wait, i)
			flights[i] = other
			continue
		}
		flights[i] = &flight{done: make(chan struct{})}
		c.flights.open[ref] = flights[i]
		lead = append(lead, i)
	}
	return lead, wait, flights
}

// written takes those out of lead whose copies were written after this call had looked into the folder, and
// leaves them to whoever is next.
func (c *cache) written(all []chunk.Chunk, lead []int, flights map[int]*flight, lost map[int]bool) (rest, written []int) {
	for _, i := range lead {
		if lost[i] || !c.index.has(all[i].ChunkRef) {
			rest = append(rest, i)
			continue
		}
		written = append(written, i)
		flights[i].gone = true
		c.flights.land(all[i].ChunkRef, flights[i])
	}
	return rest, written
}

func (f *flights) land(ref logproto.ChunkRef, one *flight) {
	f.mu.Lock()
	delete(f.open, ref)
	f.mu.Unlock()
	close(one.done)
}

// fromOrigin fetches the chunks (indexes of all) that are not in the folder into out, each once however many
// calls ask for it. A call first fetches what nobody else does, then waits for the others, so no two wait for
// each other.
func (c *Client) fromOrigin(ctx context.Context, all []chunk.Chunk, chunks []int, out []chunk.Chunk) (err error) {
	var alone []int
	lost := map[int]bool{} // the index has them, but they were looked for twice
	for len(chunks) > 0 {
		lead, wait, flights := c.board(all, chunks)
		lead, again := c.written(all, lead, flights, lost)
		if len(lead) > 0 { // first, since others wait for them
			err = c.worse(err, c.fetchFlights(ctx, all, lead, flights, out))
		}
		again = c.fromFolder(ctx, all, again, out)
		for _, i := range again {
			lost[i] = true
		}
		chunks = again
		for _, i := range wait {
			f := flights[i]
			select {
			case <-f.done:
			case <-ctx.Done():
				return c.worse(err, ctx.Err())
			}
			switch {
			case f.data != nil:
				err = c.worse(err, c.takeShared(&all[i], f.data, &out[i]))
			case f.gone:
				chunks = append(chunks, i)
			case f.err != nil:
				err = c.worse(err, f.err)
			default:
				alone = append(alone, i)
			}
		}
	}
	if len(alone) > 0 {
		err = c.worse(err, c.fetch(ctx, all, alone, out, nil))
	}
	return err
}

// takeShared makes a chunk of bytes that another call has fetched. Its decoded form is that call's alone; the
// bytes may be shared, as those of Loki's embedded cache are.
func (c *Client) takeShared(asked *chunk.Chunk, data []byte, out *chunk.Chunk) error {
	one := *asked
	if err := one.Decode(chunk.NewDecodeContext(), data); err != nil {
		return err
	}
	*out = one
	c.metrics.chunks[resultShared].Inc()
	return nil
}

// fetchFlights fetches chunks for which others may wait, and tells them, also when the origin panics.
func (c *Client) fetchFlights(ctx context.Context, all []chunk.Chunk, lead []int, flights map[int]*flight, out []chunk.Chunk) (err error) {
	over := false
	defer func() {
		for _, i := range lead {
			f := flights[i]
			switch {
			case f.data != nil:
			case !over || ctx.Err() != nil:
				f.gone = true
			case len(lead) == 1:
				f.err = err
			}
			// Otherwise the error of several chunks is not known to be this one's, and nobody may take a chunk for
			// missing because another one is: whoever waits asks by itself.
			c.flights.land(all[i].ChunkRef, f)
		}
	}()
	err = c.fetch(ctx, all, lead, out, func(i int, data []byte) { flights[i].data = data })
	over = true
	return err
}

// fetch asks the origin for chunks (indexes of all), hands out those that came, and has copies of them written,
// also of a call that was cancelled meanwhile: the next one need not fetch them again.
func (c *Client) fetch(ctx context.Context, all []chunk.Chunk, chunks []int, out []chunk.Chunk, got func(i int, data []byte)) error {
	asked := make([]chunk.Chunk, len(chunks))
	places := make(map[logproto.ChunkRef][]int, len(chunks))
	for n, i := range chunks {
		asked[n] = all[i]
		places[all[i].ChunkRef] = append(places[all[i].ChunkRef], i)
	}
	begin := time.Now()
	fetched, err := c.origin.GetChunks(ctx, asked)
	c.metrics.origin.Observe(time.Since(begin).Seconds())
	for n := range fetched {
		ref := fetched[n].ChunkRef
		at := places[ref]
		if len(at) == 0 {
			continue // not asked for
		}
		places[ref] = at[1:]
		out[at[0]] = fetched[n]
		c.metrics.chunks[resultMiss].Inc()
		one := fetched[n] // Encoded may write to it
		data, encodeErr := one.Encoded()
		if encodeErr != nil || one.Checksum != ref.Checksum {
			continue // not as it was stored: nobody's but this call's
		}
		c.metrics.missBytes.Add(float64(len(data)))
		if got != nil {
			got(at[0], data)
		}
		c.offer(ref, data)
	}
	return err
}
