// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package core

/*
#cgo CFLAGS: -I${SRCDIR}/../../../c/include
#cgo LDFLAGS: ${SRCDIR}/../../../build/libchunkring.a -pthread
#if !__has_include("libchunkring_id.h")
#error "libchunkring.a is not built: run 'make lib' in the chunkring checkout first"
#endif
#include "libchunkring_id.h"
// Go caches a link by what it compiled, not by the archive: this is in the object, so that a new
// archive is a new link.
static const char libchunkring_id[] __attribute__((used)) = CR_LIB_SHA256;
#include <stdlib.h>
#include <chunkring.h>

extern int chunkringAlloc(void *arg, struct cr_req *reqs, uint32_t first, uint32_t n);
extern void chunkringDone(void *arg, uint32_t *index, uint32_t n);

// Its pointers are arguments, and the struct with pointers in it is C's: so Go pins what it must for
// the call and allocates nothing.
#cgo noescape chunkring_decompress
#cgo nocallback chunkring_decompress
struct chunkring_decompressed { uint64_t raw_bytes; uint32_t status; };
static inline struct chunkring_decompressed chunkring_decompress(struct cr_decompressor *decompressor, uint32_t codec,
	const void *src, uint64_t src_bytes, void *dst, uint64_t cap_bytes)
{
	struct cr_decompress d = { .codec = codec, .src = src, .src_bytes = src_bytes,
			       .dst = dst, .cap_bytes = cap_bytes };
	cr_block_decompress(decompressor, &d);
	return (struct chunkring_decompressed){ .raw_bytes = d.raw_bytes, .status = d.status };
}

// The same, and without a decompressor the bytes as they are in the file.
#cgo noescape chunkring_block_read
#cgo nocallback chunkring_block_read
struct chunkring_block { uint64_t raw_bytes; uint32_t status, os_errno, op, crc_got; };
static inline struct chunkring_block chunkring_block_read(struct cr_ctx *ctx, struct cr_decompressor *decompressor,
	const char *path, uint32_t path_bytes, uint32_t codec, uint64_t off, uint32_t bytes,
	uint64_t next_off, uint32_t next_bytes, int32_t fd, void *dst, uint64_t cap_bytes)
{
	struct cr_block_read b = { .path = path, .path_bytes = path_bytes, .codec = codec, .off = off,
				   .bytes = bytes, .next_off = next_off, .next_bytes = next_bytes,
				   .fd = fd, .dst = dst, .cap_bytes = cap_bytes };
	if (decompressor)
		cr_block_read(ctx, decompressor, &b);
	else
		cr_block_read_raw(ctx, &b);
	return (struct chunkring_block){ .raw_bytes = b.raw_bytes, .status = b.status, .os_errno = b.os_errno,
					 .op = b.op, .crc_got = b.crc_got };
}

#cgo noescape chunkring_verify
#cgo nocallback chunkring_verify
static inline struct cr_verdict chunkring_verify(const void *file, uint64_t file_bytes)
{
	struct cr_verdict v;

	cr_chunk_verify(file, file_bytes, &v);
	return v;
}

#cgo noescape cr_evict_touch
#cgo nocallback cr_evict_touch
// What was found or chosen is a result: an argument that C writes would be an allocation.
struct chunkring_evicted { struct cr_evict_item item; int32_t error; bool found; };
#cgo nocallback chunkring_evict_add
static inline struct chunkring_evicted chunkring_evict_add(struct cr_evict *e, uint64_t hash, uint64_t size_bytes, bool kept)
{
	struct chunkring_evicted x = { .found = false };

	x.error = cr_evict_add(e, hash, size_bytes, kept, &x.item.slot);
	return x;
}
#cgo nocallback chunkring_evict_find
static inline struct chunkring_evicted chunkring_evict_find(struct cr_evict *e, uint64_t hash)
{
	struct chunkring_evicted x = { .error = 0 };

	x.found = cr_evict_find(e, hash, &x.item);
	return x;
}
#cgo nocallback chunkring_evict_remove
static inline struct chunkring_evicted chunkring_evict_remove(struct cr_evict *e, uint64_t hash)
{
	struct chunkring_evicted x = { .error = 0 };

	x.found = cr_evict_remove(e, hash, &x.item);
	return x;
}
#cgo nocallback chunkring_evict_victim
static inline struct chunkring_evicted chunkring_evict_victim(struct cr_evict *e, uint64_t keep_bytes, uint32_t keep_items)
{
	struct chunkring_evicted x = { .error = 0 };

	x.found = cr_evict_victim(e, keep_bytes, keep_items, &x.item);
	return x;
}
*/
import "C"

import (
	"fmt"
	"math"
	"runtime"
	"runtime/cgo"
	"syscall"
	"time"
	"unsafe"
)

// Built says which of the twins this is.
const Built = "cgo"

// Reader reads files of one directory. Safe for concurrent use until Close.
type Reader struct {
	ctx *C.struct_cr_ctx
}

// Open opens dir and starts the workers. A refused io_uring is no error: see Fallback.
func Open(dir string, o Options) (*Reader, error) {
	backend, err := backendNumber(o.Backend)
	if err != nil {
		return nil, err
	}
	opt := C.struct_cr_options{
		backend:        C.uint32_t(backend),
		workers:        C.uint32_t(o.Workers),
		ring_entries:   C.uint32_t(o.RingEntries),
		file_bytes_max: C.uint32_t(o.MaxFileBytes),
		open_files_max: C.uint32_t(o.MaxOpenFiles),
		cpus:           C.uint32_t(runtime.GOMAXPROCS(0)), // knows the cgroup's quota
	}
	cdir := C.CString(dir)
	defer C.free(unsafe.Pointer(cdir))
	r := &Reader{}
	if rc := C.cr_ctx_open(cdir, &opt, &r.ctx); rc != 0 {
		return nil, fmt.Errorf("open chunk directory %s: %w", dir, syscall.Errno(-rc))
	}
	return r, nil
}

func backendNumber(name string) (uint32, error) {
	switch name {
	case "", "auto":
		return C.CR_BACKEND_AUTO, nil
	case "uring":
		return C.CR_BACKEND_URING, nil
	case "threads":
		return C.CR_BACKEND_THREADS, nil
	}
	return 0, fmt.Errorf("unknown back-end %q: want auto, uring or threads", name)
}

// Close joins the workers. No Read may be running or start.
func (r *Reader) Close() {
	C.cr_ctx_close(r.ctx)
	r.ctx = nil
}

// Backend names what runs: "uring" or "threads". It changes at most once, from the first to the second.
func (r *Reader) Backend() string { return C.GoString(C.cr_backend_name(r.ctx)) }

// Fallback says why io_uring does not run though it was wanted: the errno and the step that failed;
// 0 and "" while what was wanted runs.
func (r *Reader) Fallback() (syscall.Errno, string) {
	var step *C.char
	errno := C.cr_backend_errno(r.ctx, &step)
	return syscall.Errno(errno), C.GoString(step)
}

// Workers is the number of C's threads that run now.
func (r *Reader) Workers() int { return int(C.cr_workers(r.ctx)) }

// call is what the callback finds through its handle.
type call struct {
	Batch
	reqs []C.struct_cr_req
	pin  runtime.Pinner
}

// Read opens, sizes, reads, checks and closes all files of a batch in one call into C.
//
// When Read returns nothing writes to any buffer any more. The error is a misuse, never a file's.
func (r *Reader) Read(b Batch) (Times, error) {
	files := b.Files
	if len(files) == 0 {
		return Times{}, nil
	}
	// Made anew each time, and zeroed: C stores NULL over what is in reqs[i].buf without a write barrier, which
	// is harmless only where that is NULL. Requests that were kept and used again would break the collector.
	c := call{Batch: b, reqs: make([]C.struct_cr_req, len(files))}
	defer c.pin.Unpin() // chunkring.h: after the return C holds nothing

	pathBytes := 0
	for i := range files {
		pathBytes += len(files[i].Path) + 1
	}
	paths := make([]byte, 0, pathBytes)
	reqs := c.reqs
	c.pin.Pin(unsafe.SliceData(paths))
	c.pin.Pin(unsafe.SliceData(reqs))
	for i := range files {
		f := &files[i]
		*f = File{Path: f.Path, CRC: f.CRC, SealKnown: f.SealKnown}
		reqs[i].path = (*C.char)(unsafe.Pointer(&paths[:pathBytes][len(paths)]))
		reqs[i].path_bytes = C.uint32_t(len(f.Path))
		reqs[i].crc_want = C.uint32_t(f.CRC)
		reqs[i].seal_known = C.bool(f.SealKnown)
		paths = append(append(paths, f.Path...), 0)
	}
	// By pointer: a handle is a small number, which must not sit in a pointer-typed field.
	handle := new(cgo.Handle)
	*handle = cgo.NewHandle(&c)
	defer handle.Delete()
	c.pin.Pin(handle)
	batch := C.struct_cr_batch{
		reqs:  unsafe.SliceData(reqs),
		n:     C.uint32_t(len(reqs)),
		flags: C.uint32_t(b.Check),
		alloc: C.cr_alloc_fn(C.chunkringAlloc),
		arg:   unsafe.Pointer(handle),
	}
	if b.EndsBytesMin > 0 && b.Check == CheckChunk {
		batch.flags |= C.CR_READ_ENDS
		if b.KeepOpen {
			batch.flags |= C.CR_KEEP_OPEN
		}
		batch.ends_bytes_min = C.uint32_t(min(b.EndsBytesMin, math.MaxUint32))
		batch.seal = C.uint32_t(b.Seal)
		batch.ahead = C.uint32_t(min(max(b.Ahead, 0), AheadAll))
		batch.from_ns, batch.through_ns = C.int64_t(b.FromNs), C.int64_t(b.ThroughNs)
		batch.backward = C.bool(b.Backward)
	}
	if b.Done != nil {
		batch.done = C.cr_done_fn(C.chunkringDone)
		batch.done_bytes_min = C.uint32_t(b.DoneBytesMin)
	}
	if b.Cancel != nil {
		c.pin.Pin(b.Cancel)
		batch.cancel = (*C.uint32_t)(b.Cancel)
	}
	if b.Timeout > 0 {
		ms := (b.Timeout + time.Millisecond - 1) / time.Millisecond
		batch.timeout_ms = C.uint32_t(min(ms, math.MaxUint32))
	}
	if rc := C.cr_batch_read(r.ctx, &batch); rc != 0 {
		return Times{}, fmt.Errorf("cr_batch_read of %d files: %w", len(files), syscall.Errno(-rc))
	}
	for i := range files {
		files[i].take(&reqs[i])
	}
	return Times{
		Open:     time.Duration(batch.open_ns),
		Alloc:    time.Duration(batch.alloc_ns),
		Read:     time.Duration(batch.read_ns),
		Fallback: syscall.Errno(batch.backend_errno),
	}, nil
}

func (f *File) take(req *C.struct_cr_req) {
	f.Status = Status(req.status)
	f.Errno = syscall.Errno(req.os_errno)
	f.Op = Op(req.op)
	f.GotCRC = uint32(req.crc_got)
	f.Reason = uint32(req.reason)
	f.BlocksBad = uint32(req.blocks_bad)
	f.BlocksOK = req.flags&C.CR_REQ_BLOCKS_OK != 0
	f.Size = int64(req.size_bytes)
	f.HeadBytes = int(req.head_bytes)
	f.Sealed = req.flags&C.CR_REQ_SEALED != 0
	f.FD = int(req.fd)
	switch f.Status {
	case OK, BadCRC, BadFormat:
		f.Buf = f.Buf[:req.want_bytes] // shorter than asked for if the file was
	default:
		f.Buf = nil // undefined bytes
	}
}

//export chunkringAlloc
func chunkringAlloc(arg unsafe.Pointer, _ *C.struct_cr_req, first, n C.uint32_t) C.int {
	c := (*cgo.Handle)(arg).Value().(*call)
	reqs := c.reqs // as C has them
	for i := first; i < first+n; i++ {
		if reqs[i].status != C.CR_PENDING || reqs[i].cap_bytes >= reqs[i].want_bytes {
			continue
		}
		buf := c.Alloc(int(reqs[i].want_bytes))
		if len(buf) == 0 {
			continue // cr_batch_read says CR_NO_BUFFER
		}
		p := unsafe.SliceData(buf)
		c.pin.Pin(p) // that of a file which is tried again stays pinned, too, until Read returns
		reqs[i].buf = unsafe.Pointer(p)
		reqs[i].cap_bytes = C.uint32_t(len(buf))
		c.Files[i].Buf = buf
	}
	return 0
}

// It runs on any of C's threads.
//
//export chunkringDone
func chunkringDone(arg unsafe.Pointer, index *C.uint32_t, n C.uint32_t) {
	c := (*cgo.Handle)(arg).Value().(*call)
	for _, i := range unsafe.Slice(index, n) {
		c.Files[i].take(&c.reqs[i])
		c.Done(int(i))
	}
}

// CRC32C is the library's checksum, here for the test that compares it with hash/crc32.
func CRC32C(crc uint32, p []byte) uint32 {
	if len(p) == 0 {
		return crc
	}
	return uint32(C.cr_crc32c(C.uint32_t(crc), unsafe.Pointer(unsafe.SliceData(p)), C.size_t(len(p))))
}

// CRC32CKernel names the kernel in use.
func CRC32CKernel() string { return C.GoString(C.cr_crc32c_kernel()) }

// Decompressor decompresses blocks, for one goroutine at a time. It holds the codecs' working memory.
type Decompressor struct {
	decompressor *C.struct_cr_decompressor
}

// NewDecompressor fails where memory is short.
func NewDecompressor() (*Decompressor, error) {
	d := &Decompressor{}
	if rc := C.cr_decompressor_open(&d.decompressor); rc != 0 {
		return nil, fmt.Errorf("cr_decompressor_open: %w", syscall.Errno(-rc))
	}
	return d, nil
}

// Close gives the memory back. No Decompress may follow.
func (d *Decompressor) Close() {
	C.cr_decompressor_close(d.decompressor)
	d.decompressor = nil
}

// Decompress decompresses a block of one of Loki's codecs into dst with one call into C. n is the bytes of
// dst that are valid with BlockOK; with BlockRoom it is how many the block says it takes, or 0; else 0.
func (d *Decompressor) Decompress(codec uint8, src, dst []byte) (n uint64, status BlockStatus) {
	got := C.chunkring_decompress(d.decompressor, C.uint32_t(codec),
		unsafe.Pointer(unsafe.SliceData(src)), C.uint64_t(len(src)),
		unsafe.Pointer(unsafe.SliceData(dst)), C.uint64_t(len(dst)))
	return uint64(got.raw_bytes), BlockStatus(got.status)
}

// ReadBlock reads, checks and decompresses one block with one call into C, which may block. Safe for concurrent use
// with a Decompressor each; not after Close.
func (r *Reader) ReadBlock(d *Decompressor, b *BlockRead) { r.readBlock(d.decompressor, b) }

// ReadRaw is ReadBlock without decompressing: Dst gets the block as it is in the file.
func (r *Reader) ReadRaw(b *BlockRead) { r.readBlock(nil, b) }

func (r *Reader) readBlock(d *C.struct_cr_decompressor, b *BlockRead) {
	var room [512]byte // of usual paths
	path := append(append(room[:0], b.Path...), 0)
	bytes := uint32(BlockBytesMax + 1) // what C refuses, of what its 32 bits may not hold
	if b.Bytes >= 0 && b.Bytes <= BlockBytesMax {
		bytes = uint32(b.Bytes)
	}
	got := C.chunkring_block_read(r.ctx, d,
		(*C.char)(unsafe.Pointer(unsafe.SliceData(path))), C.uint32_t(len(b.Path)), C.uint32_t(b.Codec),
		C.uint64_t(b.Off), C.uint32_t(bytes),
		C.uint64_t(b.NextOff), C.uint32_t(min(max(b.NextBytes, 0), BlockBytesMax)), C.int32_t(b.FD),
		unsafe.Pointer(unsafe.SliceData(b.Dst)), C.uint64_t(len(b.Dst)))
	b.N = int(got.raw_bytes)
	b.Status = BlockReadStatus(got.status)
	b.Errno = syscall.Errno(got.os_errno)
	b.Op = Op(got.op)
	b.GotCRC = uint32(got.crc_got)
}

// Verifier returns a function that reports whether a chunk's file has a CRC32C, its structure is sound, and each of
// its blocks has its own CRC32C where the chunk records it: one call into C, and one pass over the bytes.
// Nothing is kept. The pure-Go twin has none: it returns nil.
func Verifier() func(file []byte, crc uint32) bool { return verify }

func verify(file []byte, crc uint32) bool {
	v := C.chunkring_verify(unsafe.Pointer(unsafe.SliceData(file)), C.uint64_t(len(file)))
	return uint32(v.crc) == crc && v.reason == C.CR_REASON_NONE && v.blocks_moved == 0 && v.blocks_bad == 0
}

// Evict chooses which of a folder's files goes next, for one goroutine at a time: cr_evict of chunkring.h.
type Evict struct {
	evict *C.struct_cr_evict
}

// OpenEvict makes room for so many files. It fails where memory is short, or with EINVAL.
func OpenEvict(itemsMax uint32) (*Evict, error) {
	e := &Evict{}
	if rc := C.cr_evict_open(C.uint32_t(itemsMax), &e.evict); rc != 0 {
		return nil, fmt.Errorf("cr_evict_open for %d files: %w", itemsMax, syscall.Errno(-rc))
	}
	return e, nil
}

// Close gives the memory back. No call may follow.
func (e *Evict) Close() {
	C.cr_evict_close(e.evict)
	e.evict = nil
}

// Add says that a file is there from now on; kept: that it was there before. Errors: EFBIG, ENOSPC.
func (e *Evict) Add(hash, bytes uint64, kept bool) (slot uint32, err error) {
	x := C.chunkring_evict_add(e.evict, C.uint64_t(hash), C.uint64_t(bytes), C.bool(kept))
	if x.error != 0 {
		return 0, syscall.Errno(-x.error)
	}
	return uint32(x.item.slot), nil
}

// Touch says that files were read, and returns how many of them are known.
func (e *Evict) Touch(hashes []uint64) int {
	return int(C.cr_evict_touch(e.evict, (*C.uint64_t)(unsafe.SliceData(hashes)), C.uint32_t(len(hashes))))
}

// Find returns what is known of a file.
func (e *Evict) Find(hash uint64) (EvictItem, bool) {
	return evictItem(C.chunkring_evict_find(e.evict, C.uint64_t(hash)))
}

// Remove says that a file is gone.
func (e *Evict) Remove(hash uint64) (EvictItem, bool) {
	return evictItem(C.chunkring_evict_remove(e.evict, C.uint64_t(hash)))
}

// Victim returns the next file to delete, which is known no more, while more than so much is held.
func (e *Evict) Victim(keepBytes uint64, keepItems uint32) (EvictItem, bool) {
	return evictItem(C.chunkring_evict_victim(e.evict, C.uint64_t(keepBytes), C.uint32_t(keepItems)))
}

// Held is what is known in all.
func (e *Evict) Held() (items, bytes uint64) {
	var stats C.struct_cr_evict_stats
	C.cr_evict_stats(e.evict, &stats)
	return uint64(stats.items), uint64(stats.bytes)
}

func evictItem(x C.struct_chunkring_evicted) (EvictItem, bool) {
	return EvictItem{Hash: uint64(x.item.hash), Bytes: uint32(x.item.size_bytes), Slot: uint32(x.item.slot)}, bool(x.found)
}
