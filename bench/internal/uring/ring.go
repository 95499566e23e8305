// SPDX-License-Identifier: Apache-2.0

// Package uring is the little of io_uring that the benchmark's peers need, on raw system calls. It
// exists to measure what a Go program gets from a ring of its own; chunkring's is in C, since Go moves
// goroutines between threads.
package uring

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From include/uapi/linux/io_uring.h.
const (
	setupSQPoll      = 1 << 1
	featSingleMmap   = 1 << 0
	enterGetEvents   = 1 << 0
	enterSQWakeup    = 1 << 1
	sqNeedWakeup     = 1 << 0
	opNop            = 0
	opRead           = 22
	offSQRing        = 0
	offSQEs          = 0x10000000
	entriesMax       = 4096
	interruptedTries = 1000
)

type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	resv                                                                   [3]uint32
	sqOff                                                                  sqOffsets
	cqOff                                                                  cqOffsets
}

type sqe struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len, opFlags  uint32
	userData      uint64
	pad           [3]uint64
}

type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

var (
	_ [120]byte = [unsafe.Sizeof(params{})]byte{}
	_ [64]byte  = [unsafe.Sizeof(sqe{})]byte{}
	_ [16]byte  = [unsafe.Sizeof(cqe{})]byte{}
)

// Ring is one io_uring. One goroutine at a time may push and submit, and one (the same or another) may
// take completions. The kernel writes into the buffers that were pushed until their completion is taken:
// the caller keeps them reachable. They must come from the heap, whose objects Go does not move.
type Ring struct {
	fd             int
	sqpoll         bool
	rings, entries []byte // mappings

	sqHead, sqTail, sqFlags *uint32
	sqMask, sqSize          uint32
	sqes                    []sqe
	tail, submitted         uint32 // tail as pushed, and as the kernel has seen it

	cqHead, cqTail *uint32
	cqMask         uint32
	cqes           []cqe
}

// New sets up a ring. sqpoll, if not zero, has a kernel thread poll for submissions, which falls asleep
// when there are none for that long.
func New(entries uint32, sqpoll time.Duration) (*Ring, error) {
	if entries == 0 || entries > entriesMax {
		return nil, fmt.Errorf("io_uring of %d entries: choose 1 to %d", entries, entriesMax)
	}
	var p params
	if sqpoll > 0 {
		p.flags |= setupSQPoll
		p.sqThreadIdle = uint32(sqpoll.Milliseconds())
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	r := &Ring{fd: int(fd), sqpoll: sqpoll > 0}
	if p.features&featSingleMmap == 0 {
		r.Close()
		return nil, fmt.Errorf("io_uring without IORING_FEAT_SINGLE_MMAP: kernel older than 5.4")
	}
	if err := r.mmap(&p); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Ring) mmap(p *params) error {
	size := max(int(p.sqOff.array)+int(p.sqEntries)*4, int(p.cqOff.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(cqe{})))
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	var err error
	if r.rings, err = unix.Mmap(r.fd, offSQRing, size, prot, flags); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if r.entries, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), prot, flags); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[off])) }
	r.sqHead, r.sqTail, r.sqFlags = word(p.sqOff.head), word(p.sqOff.tail), word(p.sqOff.flags)
	r.sqMask, r.sqSize = *word(p.sqOff.ringMask), p.sqEntries
	r.cqHead, r.cqTail, r.cqMask = word(p.cqOff.head), word(p.cqOff.tail), *word(p.cqOff.ringMask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.entries[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.rings[p.cqOff.cqes])), p.cqEntries)
	// Slot i of the indirection array always names entry i.
	array := unsafe.Slice(word(p.sqOff.array), p.sqEntries)
	for i := range array {
		array[i] = uint32(i)
	}
	return nil
}

// Close frees the ring. Nothing may be in flight.
func (r *Ring) Close() {
	for _, m := range [][]byte{r.rings, r.entries} {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	r.rings, r.entries = nil, nil
	_ = unix.Close(r.fd)
}

// PushRead prepares a read of fd at off into buf. False: the submission queue is full.
func (r *Ring) PushRead(fd int, buf []byte, off int64, tag uint64) bool {
	return r.push(sqe{opcode: opRead, fd: int32(fd), off: uint64(off), len: uint32(len(buf)), userData: tag,
		addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(buf))))})
}

// PushNop prepares a request that only completes.
func (r *Ring) PushNop(tag uint64) bool { return r.push(sqe{opcode: opNop, fd: -1, userData: tag}) }

func (r *Ring) push(e sqe) bool {
	if r.tail-atomic.LoadUint32(r.sqHead) == r.sqSize {
		return false
	}
	r.sqes[r.tail&r.sqMask] = e
	r.tail++
	return true
}

// Submit shows the kernel what was pushed, and waits for the given number of completions. With a
// polling thread it enters the kernel only to wake that, or to wait.
func (r *Ring) Submit(wait uint32) error {
	atomic.StoreUint32(r.sqTail, r.tail) // a full barrier, as the flag below needs
	submit, flags := r.tail-r.submitted, uint32(0)
	if r.sqpoll {
		r.submitted = r.tail
		if r.Asleep() {
			flags |= enterSQWakeup
		} else if wait == 0 {
			return nil
		}
	}
	if wait > 0 {
		flags |= enterGetEvents
	}
	n, err := r.enter(submit, wait, flags)
	if !r.sqpoll {
		r.submitted += uint32(n)
		if err == nil && r.submitted != r.tail {
			err = fmt.Errorf("io_uring_enter took %d of %d requests", n, submit)
		}
	}
	return err
}

// Wait blocks until a completion is there to be taken.
func (r *Ring) Wait() error {
	if atomic.LoadUint32(r.cqTail) != *r.cqHead {
		return nil
	}
	_, err := r.enter(0, 1, enterGetEvents)
	return err
}

func (r *Ring) enter(submit, wait, flags uint32) (int, error) {
	for range interruptedTries {
		n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, os.NewSyscallError("io_uring_enter", errno)
		}
	}
	return 0, os.NewSyscallError("io_uring_enter", unix.EINTR)
}

// Take returns the next completion, or false if there is none yet.
func (r *Ring) Take() (tag uint64, res int32, ok bool) {
	head := *r.cqHead // written by this side only
	if atomic.LoadUint32(r.cqTail) == head {
		return 0, 0, false
	}
	c := r.cqes[head&r.cqMask]
	atomic.StoreUint32(r.cqHead, head+1)
	return c.userData, c.res, true
}

// Asleep reports whether the polling thread must be woken. Without one it is false.
func (r *Ring) Asleep() bool { return r.sqpoll && atomic.LoadUint32(r.sqFlags)&sqNeedWakeup != 0 }
