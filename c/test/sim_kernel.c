/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_kernel.h. */
#include "sim_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "chunk_build.h"
#include "layout.h"
#include "open_how.h"

#define FD_BASE      1000000 /* simulated descriptors: none of the system is so high */
#define FDS_MAX      8192
#define RINGS_MAX    (2 * CR_RINGS_MAX)
#define OPS_MAX      (2u * CR_RING_ENTRIES_MAX)
#define TICK_NS      500u    /* a call takes that long */
#define LOOK_BYTES_MAX 10u
#define TICKS_MAX    (1u << 20) /* of one seed, 40 times what any needed: a loop without end */
#define PATIENCE_NS  100000     /* of the real clock: who waits so long for a time, waits until it is that time */
#define BLOCK_PATIENCES 4     /* a call that blocks takes so many of these */

struct sim_inode {
	uint8_t *data;
	uint64_t bytes;
	uint32_t names, fds;
};

struct fd {
	bool              used, store;
	char              dir[SIM_NAME_BYTES]; /* of the O_PATH descriptors on the way: "d/" */
	struct sim_file  *file;
	struct sim_inode *inode;
};

struct op {
	uint8_t            opcode;
	int32_t            fd;
	uint64_t           addr, off, user_data;
	uint32_t           bytes;
	struct sim_file   *file;  /* as in the kernel: it stays open until the request is done */
	struct sim_inode  *inode;
};

struct ring {
	struct io_uring     *user;
	struct op            pending[OPS_MAX];
	uint32_t             n_pending;
	struct io_uring_cqe  overflow[OPS_MAX];
	uint32_t             n_overflow;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned int         sq_head, sq_tail, cq_head, cq_tail, zero;
	uint64_t             rounds;
	uint32_t             refused;  /* times in a row */
	bool                 enabled, restricted, bounded;
	bool                 ended, joined; /* its thread */
	bool                 dead;     /* refused with an errno that is no invitation to try again */
	pthread_t            issuer;
};

/* A wait with an end. */
struct wait {
	struct wait          *next;
	const pthread_cond_t *cond;
	bool                  signaled;
};

struct sim_plan sim_plan;
struct sim_file sim_files[SIM_FILES_MAX];
uint32_t sim_n_files;
const int sim_crashes[5] = { SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS };
_Atomic uint32_t sim_duplicated;
bool (*sim_buffer_live)(const void *buf, size_t bytes);

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool on;
static struct fd fds[FDS_MAX];
static struct ring *rings[RINGS_MAX];
static struct sim_inode *inodes[2 * SIM_FILES_MAX];
static uint32_t n_inodes;
static uint64_t now_ns, ticks;
static struct wait *waits;
static uint64_t timeouts;
static uint32_t cuts;                    /* short reads */
static uint32_t n_threads;               /* of the library */
static _Thread_local bool is_library;    /* this one is, */
static _Thread_local bool may_block;     /* ... or may block like one, for no batch */
static _Thread_local bool builds;        /* a chunk: with memory of its own */
static _Thread_local int said_cached;    /* the descriptor whose pages cachestat(2) has just said to be there */

/* ---- Chance ---- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t draw(uint64_t what, uint64_t which, uint64_t when)
{
	return mix(mix(mix(sim_plan.seed * 0x9e3779b97f4a7c15u + what) + which) + when);
}

static bool chance(uint32_t of_1024, uint64_t what, uint64_t which, uint64_t when)
{
	return of_1024 && draw(what, which, when) % 1024 < of_1024;
}

static bool file_chance(uint32_t of_1024, uint64_t what, const struct sim_file *f)
{
	return chance(of_1024, what, (uint64_t)(f - sim_files), f->calls);
}

static void cancel(void)
{
	__atomic_store_n(sim_plan.cancel, 1, __ATOMIC_RELAXED);
}

static bool canceled(void)
{
	return sim_plan.cancel && __atomic_load_n(sim_plan.cancel, __ATOMIC_RELAXED);
}

/* mu is held. Every call passes here. */
static void tick(void)
{
	sim_watch_call();
	now_ns += TICK_NS;
	if (++ticks > TICKS_MAX)
		fx_fail(__FILE__, __LINE__, "more calls than any seed needs: a loop without end");
	if (ticks == sim_plan.cancel_at)
		cancel();
}

/* ---- Files ---- */

static uint32_t chunk_block_bytes(const struct chunk_spec *s, uint32_t i)
{
	return s->block_bytes_each / 2 + (uint32_t)(mix((s->seed >> 10) + i) % s->block_bytes_each);
}

/* Chunks of the same name have the same parts in all versions, but of one that is replaced. */
static void chunk_of(const struct sim_file *f, uint32_t version, struct chunk_made *m)
{
	static const uint8_t codecs[] = { CR_CODEC_NONE, CR_CODEC_GZIP, CR_CODEC_SNAPPY, CR_CODEC_FLATE };
	uint64_t x = mix((uint64_t)(f - sim_files) + 1 + (f->fate == SIM_REPLACED ? 77 * version : 0));
	struct chunk_spec s = { .version = 3 + x % 2, .codec = codecs[x >> 2 & 3] };

	s.seed = (x & ~UINT64_C(1023)) + 100 * version; /* sizes follow from the rest */
	s.blocks = 1 + (x >> 4) % 12;
	s.block_bytes = chunk_block_bytes;
	s.block_bytes_each = 40 + f->chunk_bytes / s.blocks;
	s.symbols_bytes = 20 + (x >> 8) % 200;
	if ((x >> 16) % 8 == 0) /* more than the first try reads */
		s.json_bytes = (x >> 20) % 5000;
	builds = true;
	make_chunk(m, &s);
	if (m->b.n % 2 == 0) { /* odd, as all files here */
		free(m->b.p);
		s.json_bytes++;
		make_chunk(m, &s);
	}
	builds = false;
}

uint32_t sim_content_bytes(const struct sim_file *f, uint32_t version)
{
	struct chunk_made m;

	chunk_of(f, version, &m);
	free(m.b.p);
	return (uint32_t)m.b.n;
}

static void chunk_content(const struct sim_file *f, uint32_t version, uint8_t *out, size_t bytes)
{
	struct chunk_made m;

	chunk_of(f, version, &m);
	memset(out, 0, bytes);
	memcpy(out, m.b.p, bytes < m.b.n ? bytes : m.b.n);
	free(m.b.p);
}

/* One bit of what is no block's, often of the header. */
static void damage(const struct sim_file *f, uint8_t *content)
{
	uint64_t x = draw(24, (uint64_t)(f - sim_files), 0);
	struct chunk_made m;
	size_t at;

	chunk_of(f, 0, &m);
	at = (x >> 8) % (m.blocks_off + m.b.n - m.metas_off);
	if (at >= m.blocks_off)
		at += m.metas_off - m.blocks_off;
	if (x >> 3 & 1)
		at = m.data_off + (x >> 8) % (CR_CODEC_OFF + 1);
	content[at] ^= (uint8_t)(1u << x % 8);
	free(m.b.p);
}

void sim_content(const struct sim_file *f, uint32_t version, uint8_t *out, size_t bytes)
{
	if (f->chunk) {
		chunk_content(f, version, out, bytes);
		return;
	}
	fx_content(f->name, out, bytes);
	for (size_t i = 0; version && i < bytes; i++)
		out[i] ^= 0x55;
}

static struct sim_inode *inode_new(const struct sim_file *f, uint32_t version, uint32_t bytes)
{
	struct sim_inode *inode = calloc(1, sizeof(*inode));

	FX_CHECK(inode && n_inodes < sizeof(inodes) / sizeof(inodes[0]));
	inode->bytes = bytes;
	/* room for all that it may become */
	inode->data = calloc(1, (f->other_bytes > bytes ? f->other_bytes : bytes) + 1ul);
	FX_CHECK(inode->data);
	sim_content(f, version, inode->data, bytes);
	if (f->damaged)
		damage(f, inode->data);
	inodes[n_inodes++] = inode;
	return inode;
}

struct sim_file *sim_file_add(const char *name, uint32_t bytes, enum sim_fate fate)
{
	struct sim_file *f = &sim_files[sim_n_files];

	FX_CHECK(sim_n_files < SIM_FILES_MAX);
	*f = (struct sim_file){ .fate = fate, .bytes = bytes, .other_bytes = bytes };
	snprintf(f->name, sizeof(f->name), "%s", name);
	sim_n_files++;
	return f;
}

struct sim_file *sim_chunk_add(const char *name, uint32_t bytes, enum sim_fate fate)
{
	struct sim_file *f = sim_file_add(name, bytes, fate);

	f->chunk = true;
	f->chunk_bytes = bytes;
	f->bytes = f->other_bytes = sim_content_bytes(f, 0);
	f->damaged = fate == SIM_PLAIN && chance(150, 25, (uint64_t)(f - sim_files), 0);
	return f;
}

static struct sim_file *file_named(const char *name)
{
	for (uint32_t i = 0; i < sim_n_files; i++)
		if (strcmp(sim_files[i].name, name) == 0)
			return &sim_files[i];
	return NULL;
}

/* The name's content or size becomes what its fate says. */
static void change(struct sim_file *f)
{
	struct sim_inode *inode = f->inode;

	f->changed = true;
	switch (f->fate) {
	case SIM_SHRINKS:
		inode->bytes = f->other_bytes;
		break;
	case SIM_GROWS:
		memset(inode->data + inode->bytes, 0x77, f->other_bytes - inode->bytes);
		inode->bytes = f->other_bytes;
		break;
	case SIM_REPLACED:
		f->inode = inode_new(f, 1, f->other_bytes);
		break;
	case SIM_OVERWRITTEN:
		sim_content(f, 1, inode->data, inode->bytes);
		break;
	default:
		fx_fail(__FILE__, __LINE__, "nothing to change");
	}
}

static bool changes(const struct sim_file *f)
{
	return f->fate >= SIM_SHRINKS && f->fate <= SIM_OVERWRITTEN && !f->changed;
}

/* ---- Descriptors ---- */

static int fd_new(struct fd fd)
{
	for (int i = 0; i < FDS_MAX; i++)
		if (!fds[i].used) {
			fds[i] = fd;
			fds[i].used = true;
			return FD_BASE + i;
		}
	return -EMFILE;
}

static struct fd *fd_get(int number)
{
	int i = number - FD_BASE;

	if (i < 0 || i >= FDS_MAX || !fds[i].used)
		fx_fail(__FILE__, __LINE__, "a descriptor that is not open");
	return &fds[i];
}

static int file_open(struct sim_file *f)
{
	f->opens++;
	f->calls++;
	if (f->fate == SIM_MISSING)
		return -ENOENT;
	if (f->fate == SIM_OPEN_FAILS && f->times) {
		f->times -= f->times != SIM_ALWAYS;
		return -f->err;
	}
	if (file_chance(sim_plan.eintr, 1, f))
		return -EINTR;
	if (file_chance(sim_plan.eagain, 2, f))
		return -EAGAIN;
	if (!f->inode)
		f->inode = inode_new(f, 0, f->bytes);
	if (f->fate == SIM_REPLACED && !f->changed && f->at == SIM_ALWAYS)
		change(f); /* just before it is opened */
	return fd_new((struct fd){ .file = f, .inode = f->inode });
}

/* What O_PATH gives: it is not opened, and what the name stands for may fail to be. */
static int path_only(int at, const char *path)
{
	struct sim_file *f = file_named(path);

	fd_get(at);
	if (!f || f->fate == SIM_MISSING)
		return -ENOENT;
	if (!f->inode)
		f->inode = inode_new(f, 0, f->bytes);
	return fd_new((struct fd){ .file = f, .inode = f->inode });
}

/* /proc/self/fd/N */
static int open_again(int number)
{
	struct fd fd = *fd_get(number);

	FX_CHECK(fd.file);
	if (fd.file->fate == SIM_OPEN_FAILS && fd.file->times)
		return -fd.file->err;
	return fd_new(fd);
}

static int path_open(int at, const char *path)
{
	struct fd *dir = fd_get(at);
	char full[2 * SIM_NAME_BYTES + CR_PATH_BYTES_MAX];
	struct sim_file *f;

	FX_CHECK(dir->store || dir->dir[0]);
	snprintf(full, sizeof(full), "%s%s", dir->dir, path);
	f = file_named(full);
	return f ? file_open(f) : -ENOENT;
}

/* A component on the way, for who opens one after the other. */
static int dir_open(int at, const char *part)
{
	struct fd *dir = fd_get(at), next = { 0 };
	int bytes = snprintf(next.dir, sizeof(next.dir), "%s%s/", dir->dir, part);

	FX_CHECK(bytes > 0 && (size_t)bytes < sizeof(next.dir));
	for (uint32_t i = 0; i < sim_n_files; i++)
		if (strncmp(sim_files[i].name, next.dir, (size_t)bytes) == 0)
			return fd_new(next);
	return -ENOENT;
}

static int fd_close(int number)
{
	struct fd *fd = fd_get(number);
	struct sim_file *f = fd->file;

	fd->used = false;
	if (!f)
		return 0;
	f->calls++;
	return file_chance(sim_plan.close_fails, 3, f) ? -EIO : 0; /* closed all the same */
}

/* One byte on a stack looks behind the end, and 64 KiB count what there is. A few are a CRC behind a block, or what
 * a block begins with. */
static bool is_look(const void *buf, size_t bytes)
{
	return (bytes <= LOOK_BYTES_MAX || bytes == 65536) && !sim_buffer_live(buf, bytes);
}

static void grow(struct sim_file *f, struct sim_inode *inode)
{
	uint64_t more = 1 + draw(20, (uint64_t)(f - sim_files), f->calls) % 64;

	if (more > f->other_bytes - inode->bytes)
		more = f->other_bytes - inode->bytes;
	memset(inode->data + inode->bytes, 0x77, more);
	inode->bytes += more;
	f->changed = true;
}

/* looks: not into a buffer of a request; nothing goes wrong on purpose then. */
static int64_t file_read(struct sim_file *f, struct sim_inode *inode, void *buf, size_t bytes, uint64_t off,
			 bool looks)
{
	FX_CHECK(f);
	if (f->fate == SIM_DIRECTORY)
		return -EISDIR;
	if (!looks && !sim_buffer_live(buf, bytes))
		fx_fail(__FILE__, __LINE__, "a read into memory that is no buffer of a request under way");
	f->calls++;
	memset(buf, 0xDB, bytes); /* what is not read must not happen to hold the right bytes */
	if (file_chance(sim_plan.eintr, 4, f))
		return -EINTR;
	if (file_chance(sim_plan.eagain, 5, f))
		return -EAGAIN;
	if (changes(f) && f->at != SIM_ALWAYS && f->reads >= f->at)
		change(f);
	f->reads += !looks;
	if (f->fate == SIM_GROWS_ON && !looks)
		grow(f, inode);
	if (f->fate == SIM_READ_FAILS && f->reads > f->at && f->times && !looks) {
		f->times -= f->times != SIM_ALWAYS;
		return -f->err;
	}
	if (off >= inode->bytes)
		return 0;
	if (bytes > inode->bytes - off)
		bytes = inode->bytes - off;
	if (bytes > 1 && file_chance(sim_plan.short_read, 6, f)) {
		bytes = 1 + draw(7, (uint64_t)(f - sim_files), f->calls) % (bytes - 1);
		if (++cuts == sim_plan.cancel_at_cut)
			cancel();
	}
	memcpy(buf, inode->data + off, bytes);
	/* one may have begun when nobody had canceled yet */
	if (!looks && !may_block && canceled() && ++f->late_reads > 1)
		fx_fail(__FILE__, __LINE__, "a canceled file is read on");
	return (int64_t)bytes;
}

static int64_t fd_read(int number, void *buf, size_t bytes, uint64_t off)
{
	const struct fd *fd = fd_get(number);

	for (uint32_t i = 0; i < RINGS_MAX; i++)
		for (uint32_t k = 0; rings[i] && k < rings[i]->n_pending; k++)
			if (rings[i]->pending[k].fd == number)
				fx_fail(__FILE__, __LINE__, "a file is read while a ring reads it");
	return file_read(fd->file, fd->inode, buf, bytes, off, is_look(buf, bytes));
}

/* ---- What the library calls: files ---- */

int __real_nanosleep(const struct timespec *ts, struct timespec *left);
void *__real_malloc(size_t bytes);

static int64_t result(int64_t res)
{
	pthread_mutex_unlock(&mu);
	if (res >= 0)
		return (int)res;
	errno = (int)-res;
	return -1;
}

static void enter(void)
{
	pthread_mutex_lock(&mu);
	tick();
}

/* mu is held before and after. Others go on; where all wait, time leaps. */
static void block(void)
{
	const struct timespec real = { 0, BLOCK_PATIENCES * PATIENCE_NS };
	uint64_t until_ns = now_ns + sim_plan.slow_ns;

	pthread_mutex_unlock(&mu);
	__real_nanosleep(&real, NULL);
	pthread_mutex_lock(&mu);
	if (now_ns < until_ns)
		now_ns = until_ns;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, unsigned int mode);
int __wrap_open(const char *path, int flags, unsigned int mode)
{
	int number;

	if (on && sscanf(path, "/proc/self/fd/%d", &number) == 1 && number >= FD_BASE) {
		FX_CHECK(!(flags & O_NONBLOCK));
		enter();
		return result(open_again(number));
	}
	if (!on || !(flags & O_PATH))
		return __real_open(path, flags, mode);
	enter();
	return result(fd_new((struct fd){ .store = true }));
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	if (!on || fd < FD_BASE)
		return __real_close(fd);
	enter();
	return result(fd_close(fd));
}

int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st)
{
	struct fd *of;

	if (!on || fd < FD_BASE)
		return __real_fstat(fd, st);
	enter();
	of = fd_get(fd);
	FX_CHECK(of->file);
	if (of->file->fate == SIM_STAT_FAILS)
		return result(-of->file->err);
	memset(st, 0, sizeof(*st));
	st->st_mode = of->file->fate == SIM_DIRECTORY ? S_IFDIR : S_IFREG;
	st->st_size = (off_t)(of->file->fate == SIM_LIES ? of->file->other_bytes : of->inode->bytes);
	return result(0);
}

int __real_fstatfs(int fd, struct statfs *st);
int __wrap_fstatfs(int fd, struct statfs *st);
int __wrap_fstatfs(int fd, struct statfs *st)
{
	if (!on || fd < FD_BASE)
		return __real_fstatfs(fd, st);
	enter();
	FX_CHECK(fd_get(fd)->store);
	memset(st, 0, sizeof(*st));
	st->f_type = sim_plan.overlayfs ? OVERLAYFS_SUPER_MAGIC : EXT4_SUPER_MAGIC;
	return result(0);
}

off_t __real_lseek(int fd, off_t off, int whence);
off_t __wrap_lseek(int fd, off_t off, int whence);
off_t __wrap_lseek(int fd, off_t off, int whence)
{
	struct fd *of;

	if (!on || fd < FD_BASE)
		return __real_lseek(fd, off, whence);
	enter();
	of = fd_get(fd);
	FX_CHECK(of->file && off == 0 && whence == SEEK_END);
	if (of->file->fate == SIM_STAT_FAILS)
		return result(-of->file->err);
	if (of->file->fate == SIM_DIRECTORY && of->file->bytes % 2) /* some file systems say how long it is */
		return result(-EINVAL);
	return result((off_t)(of->file->fate == SIM_LIES ? of->file->other_bytes : of->inode->bytes));
}

/* One place may be looked at when nobody had canceled yet, and the file's end. */
static void count_late_look(struct sim_file *f, uint64_t off)
{
	if (f->late_looks && off - f->late_off <= LOOK_BYTES_MAX)
		return; /* the rest of it, or again */
	f->late_off = off;
	if (++f->late_looks > 2)
		fx_fail(__FILE__, __LINE__, "a canceled file is looked at on");
}

ssize_t __real_pread(int fd, void *buf, size_t bytes, off_t off);
ssize_t __wrap_pread(int fd, void *buf, size_t bytes, off_t off);
ssize_t __wrap_pread(int fd, void *buf, size_t bytes, off_t off)
{
	if (!on || fd < FD_BASE)
		return __real_pread(fd, buf, bytes, off);
	enter();
	if (!is_look(buf, bytes)) {
		struct sim_file *f = fd_get(fd)->file;

		if (!is_library && !may_block && said_cached != fd)
			fx_fail(__FILE__, __LINE__, "a caller reads what may block");
		if (is_library && file_chance(sim_plan.slow, 21, f))
			block();
	} else if (bytes > 1 && !is_library && !may_block && said_cached != fd) {
		fx_fail(__FILE__, __LINE__, "a caller counts a file's bytes, or looks between its ends, which may block");
	} else if (bytes <= LOOK_BYTES_MAX && said_cached != fd && !may_block && canceled()) {
		count_late_look(fd_get(fd)->file, (uint64_t)off);
	}
	said_cached = -1;
	return result(fd_read(fd, buf, bytes, (uint64_t)off));
}

ssize_t __real_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct fd *of;

	if (!on || fd < FD_BASE)
		return __real_preadv2(fd, iov, n, off, flags);
	enter();
	FX_CHECK(n == 1 && flags == RWF_NOWAIT);
	of = fd_get(fd);
	if (sim_plan.no_nowait)
		return result(-EOPNOTSUPP);
	if ((uint64_t)off >= of->inode->bytes) /* the size is looked at first */
		return result(0);
	if (file_chance(sim_plan.uncached, 8, of->file)) {
		of->file->calls++;
		return result(-EAGAIN);
	}
	return result(fd_read(fd, iov->iov_base, iov->iov_len, (uint64_t)off));
}

int __real_posix_fadvise(int fd, off_t off, off_t bytes, int advice);
int __wrap_posix_fadvise(int fd, off_t off, off_t bytes, int advice);
int __wrap_posix_fadvise(int fd, off_t off, off_t bytes, int advice)
{
	if (!on)
		return __real_posix_fadvise(fd, off, bytes, advice);
	enter();
	fd_get(fd);
	if (!is_library && !may_block)
		fx_fail(__FILE__, __LINE__, "a caller has something fetched, which may block");
	return result(0);
}

ssize_t __real_readlinkat(int fd, const char *path, char *buf, size_t bytes);
ssize_t __wrap_readlinkat(int fd, const char *path, char *buf, size_t bytes);
ssize_t __wrap_readlinkat(int fd, const char *path, char *buf, size_t bytes)
{
	if (!on)
		return __real_readlinkat(fd, path, buf, bytes);
	errno = EINVAL; /* no symbolic links in here: test_path has them */
	return -1;
}

int __real_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, unsigned int mode);
int __wrap_openat(int at, const char *path, int flags, unsigned int mode)
{
	if (!on)
		return __real_openat(at, path, flags, mode);
	FX_CHECK((flags & O_NOFOLLOW) && (flags & O_CLOEXEC));
	enter();
	return result(flags & O_DIRECTORY ? dir_open(at, path) : path_open(at, path));
}

int __wrap___openat_2(int at, const char *path, int flags);
int __wrap___openat_2(int at, const char *path, int flags)
{
	return __wrap_openat(at, path, flags, 0);
}

/* The part of the cachestat(2) of backend_threads.c that it looks at. */
static int cachestat_of(int number, uint64_t *pages)
{
	struct fd *fd = fd_get(number);

	FX_CHECK(!sim_plan.overlayfs);
	if (sim_plan.no_cachestat)
		return -ENOSYS;
	pages[0] = file_chance(sim_plan.uncached, 17, fd->file) ? 0 : UINT32_MAX;
	if (pages[0])
		said_cached = number;
	fd->file->calls++;
	return 0;
}

/* What has no function of its own. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, int at, const char *path, const struct open_how *how, size_t bytes);
long __wrap_syscall(long number, int at, const char *path, const struct open_how *how, size_t bytes)
{
	struct sim_file *f;

	if (!on)
		return __real_syscall(number, at, path, how, bytes);
	enter();
	if (number == 451)
		return result(cachestat_of(at, (uint64_t *)(uintptr_t)how));
	FX_CHECK(number == SYS_openat2);
	FX_CHECK(how->resolve & RESOLVE_NO_SYMLINKS);
	if (sim_plan.no_openat2)
		return result(-ENOSYS);
	f = file_named(path);
	if (how->resolve & RESOLVE_CACHED) {
		if (sim_plan.no_cached)
			return result(-EINVAL);
		if (f && file_chance(sim_plan.uncached, 9, f)) {
			f->calls++;
			return result(-EAGAIN);
		}
	} else {
		if (!is_library && !may_block && !sim_plan.no_cached)
			fx_fail(__FILE__, __LINE__, "a caller opens what may block");
		if (f && file_chance(sim_plan.slow, 22, f))
			block();
	}
	if (how->flags & O_PATH)
		return result(path_only(at, path));
	return result(path_open(at, path));
}

int __real_close_range(unsigned int first, unsigned int last, int flags);
int __wrap_close_range(unsigned int first, unsigned int last, int flags);
int __wrap_close_range(unsigned int first, unsigned int last, int flags)
{
	if (!on || first < FD_BASE)
		return __real_close_range(first, last, flags);
	enter();
	FX_CHECK(first <= last && flags == 0);
	if (sim_plan.no_close_range)
		return result(-ENOSYS);
	for (unsigned int fd = first; fd <= last; fd++)
		fd_close((int)fd); /* the real one passes over what is not open; here all must be */
	return result(0);
}

/* ---- Clock, threads and memory ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *ts);

static void wait_begin(struct wait *wait)
{
	pthread_mutex_lock(&mu);
	wait->next = waits;
	waits = wait;
	pthread_mutex_unlock(&mu);
}

static void wait_end(const struct wait *wait)
{
	struct wait **at = &waits;

	pthread_mutex_lock(&mu);
	while (*at != wait)
		at = &(*at)->next;
	*at = wait->next;
	pthread_mutex_unlock(&mu);
}

/* A wait may come to its end just when it is signaled: then it may say so or not. */
static void signaled(const pthread_cond_t *cond)
{
	pthread_mutex_lock(&mu);
	for (struct wait *wait = waits; wait; wait = wait->next)
		wait->signaled |= wait->cond == cond;
	pthread_mutex_unlock(&mu);
}

int __real_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
	signaled(cond);
	return __real_pthread_cond_signal(cond);
}

int __real_pthread_cond_broadcast(pthread_cond_t *cond);
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond);
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
	signaled(cond);
	return __real_pthread_cond_broadcast(cond);
}

int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *m, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *m, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *m, const struct timespec *until)
{
	uint64_t until_ns = (uint64_t)until->tv_sec * 1000000000u + (uint64_t)until->tv_nsec;
	struct wait wait = { .cond = cond };
	struct timespec soon;
	int err;

	if (!on)
		return __real_pthread_cond_timedwait(cond, m, until);
	sim_watch_wait(cond, m);
	wait_begin(&wait);
	__real_clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_nsec += PATIENCE_NS;
	if (soon.tv_nsec >= 1000000000) {
		soon.tv_sec++;
		soon.tv_nsec -= 1000000000;
	}
	err = __real_pthread_cond_timedwait(cond, m, &soon);
	wait_end(&wait);
	if (err != ETIMEDOUT)
		return err;
	if (!wait.signaled)
		sim_watch_timeout(cond, m);
	enter();
	timeouts++;
	if (now_ns < until_ns)
		now_ns = until_ns;
	pthread_mutex_unlock(&mu);
	return ETIMEDOUT;
}

int __real_pthread_join(pthread_t thread, void **value);
int __wrap_pthread_join(pthread_t thread, void **value);
int __wrap_pthread_join(pthread_t thread, void **value)
{
	int err = __real_pthread_join(thread, value);

	if (!on)
		return err;
	enter();
	for (uint32_t i = 0; i < RINGS_MAX; i++) /* its id may be another's by now, which has not ended */
		if (rings[i] && rings[i]->ended && pthread_equal(rings[i]->issuer, thread))
			rings[i]->joined = true;
	pthread_mutex_unlock(&mu);
	return err;
}

struct start {
	void *(*main)(void *);
	void  *arg;
};

static void requests_end(pthread_t issuer);

static void *run_library(void *arg)
{
	struct start start = *(struct start *)arg;
	sigset_t crashes;
	void *value;

	free(arg);
	sigemptyset(&crashes);
	for (size_t i = 0; i < sizeof(sim_crashes) / sizeof(sim_crashes[0]); i++)
		sigaddset(&crashes, sim_crashes[i]);
	is_library = true;
	/* the library blocks all: a crash is to be told with its seed */
	pthread_sigmask(SIG_UNBLOCK, &crashes, NULL);
	value = start.main(start.arg);
	pthread_mutex_lock(&mu);
	requests_end(pthread_self());
	n_threads--;
	pthread_mutex_unlock(&mu);
	return value;
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *), void *arg)
{
	const struct timespec real = { 0, BLOCK_PATIENCES * PATIENCE_NS };
	struct start *start;
	bool none;
	int err;

	if (!on || !attr) /* the tests' own have none */
		return __real_pthread_create(thread, attr, main, arg);
	enter();
	none = chance(sim_plan.no_thread, 18, ticks, 0);
	n_threads += !none;
	pthread_mutex_unlock(&mu);
	if (none) {
		__real_nanosleep(&real, NULL); /* meanwhile others count on it */
		return EAGAIN;
	}
	sim_watch_start();
	start = __real_malloc(sizeof(*start));
	FX_CHECK(start);
	*start = (struct start){ main, arg };
	err = __real_pthread_create(thread, attr, run_library, start);
	FX_CHECK(err == 0);
	return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (!on)
		return __real_clock_gettime(clock, ts);
	enter();
	ts->tv_sec = (time_t)(now_ns / 1000000000u);
	ts->tv_nsec = (long)(now_ns % 1000000000u);
	return result(0);
}

int __wrap_nanosleep(const struct timespec *ts, struct timespec *left);
int __wrap_nanosleep(const struct timespec *ts, struct timespec *left)
{
	if (!on)
		return __real_nanosleep(ts, left);
	enter();
	now_ns += (uint64_t)ts->tv_sec * 1000000000u + (uint64_t)ts->tv_nsec;
	return result(0);
}

void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
	if (on && !builds && bytes && bytes == sim_plan.no_memory_for)
		return NULL;
	return __real_malloc(bytes);
}

/* ---- io_uring ---- */

static struct ring *ring_of(const struct io_uring *user)
{
	for (uint32_t i = 0; i < RINGS_MAX; i++)
		if (rings[i] && rings[i]->user == user)
			return rings[i];
	fx_fail(__FILE__, __LINE__, "a ring that is not set up");
}

int __real_io_uring_queue_init_params(unsigned int entries, struct io_uring *user,
				      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned int entries, struct io_uring *user,
				      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned int entries, struct io_uring *user,
				      struct io_uring_params *params)
{
	unsigned int cq_entries = sim_plan.cq_entries ? sim_plan.cq_entries : 2 * entries;
	struct ring *r;
	uint32_t i = 0;

	if (!on)
		return __real_io_uring_queue_init_params(entries, user, params);
	if (sim_plan.setup_err)
		return -sim_plan.setup_err;
	if (params->flags & sim_plan.unknown_flags)
		return -EINVAL;
	enter();
	r = calloc(1, sizeof(*r));
	FX_CHECK(r);
	r->user = user;
	FX_CHECK(params->flags & IORING_SETUP_R_DISABLED);
	r->issuer = pthread_self();
	r->sqes = calloc(entries, sizeof(*r->sqes));
	r->cqes = calloc(cq_entries, sizeof(*r->cqes));
	FX_CHECK(r->sqes && r->cqes);
	memset(user, 0, sizeof(*user));
	user->flags = params->flags;
	user->features = IORING_FEAT_EXT_ARG;
	user->ring_fd = user->enter_ring_fd = -1;
	user->sq = (struct io_uring_sq){ .khead = &r->sq_head, .ktail = &r->sq_tail,
					 .kflags = &r->zero, .sqes = r->sqes,
					 .ring_mask = entries - 1, .ring_entries = entries };
	user->cq = (struct io_uring_cq){ .khead = &r->cq_head, .ktail = &r->cq_tail,
					 .kflags = &r->zero, .cqes = r->cqes,
					 .ring_mask = cq_entries - 1, .ring_entries = cq_entries };
	user->sq.kring_mask = &user->sq.ring_mask;
	user->sq.kring_entries = &user->sq.ring_entries;
	user->cq.kring_mask = &user->cq.ring_mask;
	user->cq.kring_entries = &user->cq.ring_entries;
	while (i < RINGS_MAX && rings[i])
		i++;
	FX_CHECK(i < RINGS_MAX);
	rings[i] = r;
	return result(0);
}

void __real_io_uring_queue_exit(struct io_uring *user);
void __wrap_io_uring_queue_exit(struct io_uring *user);
void __wrap_io_uring_queue_exit(struct io_uring *user)
{
	struct ring *r;

	if (!on) {
		__real_io_uring_queue_exit(user);
		return;
	}
	enter();
	r = ring_of(user);
	/* the kernel would go on writing into their buffers, unless it was their thread that ended */
	FX_CHECK(r->joined || (r->n_pending == 0 && pthread_equal(r->issuer, pthread_self())));
	for (uint32_t i = 0; i < RINGS_MAX; i++)
		if (rings[i] == r)
			rings[i] = NULL;
	free(r->sqes);
	free(r->cqes);
	free(r);
	pthread_mutex_unlock(&mu);
}

int __real_io_uring_register_iowq_max_workers(struct io_uring *user, unsigned int *values);
int __wrap_io_uring_register_iowq_max_workers(struct io_uring *user, unsigned int *values);
int __wrap_io_uring_register_iowq_max_workers(struct io_uring *user, unsigned int *values)
{
	if (!on)
		return __real_io_uring_register_iowq_max_workers(user, values);
	enter();
	FX_CHECK(!ring_of(user)->enabled && values[0] == CR_IOWQ_MAX && values[1] == 1);
	ring_of(user)->bounded = true;
	return result(0);
}

int __real_io_uring_register_restrictions(struct io_uring *user, struct io_uring_restriction *rules,
					  unsigned int n);
int __wrap_io_uring_register_restrictions(struct io_uring *user, struct io_uring_restriction *rules,
					  unsigned int n);
int __wrap_io_uring_register_restrictions(struct io_uring *user, struct io_uring_restriction *rules,
					  unsigned int n)
{
	if (!on)
		return __real_io_uring_register_restrictions(user, rules, n);
	if (sim_plan.no_restrictions)
		return -EINVAL;
	enter();
	FX_CHECK(!ring_of(user)->enabled);
	ring_of(user)->restricted = true;
	return result(0);
}

int __real_io_uring_enable_rings(struct io_uring *user);
int __wrap_io_uring_enable_rings(struct io_uring *user);
int __wrap_io_uring_enable_rings(struct io_uring *user)
{
	if (!on)
		return __real_io_uring_enable_rings(user);
	enter();
	FX_CHECK(ring_of(user)->restricted && ring_of(user)->bounded);
	ring_of(user)->enabled = true;
	return result(0);
}

static void post(struct ring *r, uint64_t user_data, int32_t res)
{
	struct io_uring_cqe cqe = { .user_data = user_data, .res = res };
	struct io_uring_cq *cq = &r->user->cq;

	if (r->n_overflow || r->cq_tail - r->cq_head == cq->ring_entries) {
		FX_CHECK(r->n_overflow < OPS_MAX);
		r->overflow[r->n_overflow++] = cqe;
		return;
	}
	r->cqes[r->cq_tail & cq->ring_mask] = cqe;
	r->cq_tail++;
}

static void flush_overflow(struct ring *r)
{
	struct io_uring_cq *cq = &r->user->cq;
	uint32_t n = 0;

	while (n < r->n_overflow && r->cq_tail - r->cq_head < cq->ring_entries) {
		r->cqes[r->cq_tail & cq->ring_mask] = r->overflow[n++];
		r->cq_tail++;
	}
	r->n_overflow -= n;
	memmove(r->overflow, r->overflow + n, r->n_overflow * sizeof(r->overflow[0]));
}

static int64_t perform(struct ring *r, const struct op *op)
{
	struct sim_file *f = op->file;

	if (op->opcode == IORING_OP_NOP)
		return r->restricted ? -EACCES : 0;
	f->calls++;
	if (file_chance(sim_plan.canceled, 10, f))
		return -ECANCELED; /* did not run */
	if (file_chance(sim_plan.ring_wrong, 19, f))
		return -EOPNOTSUPP;
	return file_read(f, op->inode, (void *)(uintptr_t)op->addr, op->bytes, op->off, false);
}

/* A thread ends, which takes a while when it has requests under way: up to then the kernel may have written
 * for its rings, and now it has let go. mu is held before and after. */
static void requests_end(pthread_t issuer)
{
	const struct timespec real = { 0, BLOCK_PATIENCES * PATIENCE_NS };

	for (uint32_t i = 0; i < RINGS_MAX; i++) {
		struct ring *r = rings[i];

		if (!r || r->ended || !pthread_equal(r->issuer, issuer))
			continue;
		if (r->n_pending) {
			pthread_mutex_unlock(&mu);
			__real_nanosleep(&real, NULL);
			pthread_mutex_lock(&mu);
		}
		FX_CHECK(rings[i] == r); /* whoever takes a ring down waits for its thread first */
		r->ended = true;
		while (r->n_pending) {
			const struct op *op = &r->pending[--r->n_pending];

			if (draw(23, r->rounds, r->n_pending) & 1)
				perform(r, op);
		}
	}
}

/* Some of what is pending completes, in any order; at least one if must. */
static void complete_some(struct ring *r, bool must)
{
	uint32_t calls = r->n_pending;

	r->rounds++;
	for (uint32_t i = 0; i < calls && r->n_pending; i++) {
		uint64_t x = draw(11, r->rounds, i);
		uint32_t which = (uint32_t)(x % r->n_pending);
		struct op op = r->pending[which];
		int64_t res;

		if (!must && x >> 32 & 1 && sim_plan.late)
			continue;
		must = false;
		r->pending[which] = r->pending[--r->n_pending];
		res = perform(r, &op);
		post(r, op.user_data, (int32_t)res);
		/* not in the overflow list, where it might stay unseen, and not the set-up's own */
		if (op.user_data && r->cq_tail - r->cq_head < r->user->cq.ring_entries &&
		    chance(sim_plan.duplicate, 12, r->rounds, i)) {
			post(r, op.user_data, (int32_t)res);
			sim_duplicated++;
		}
	}
}

static uint32_t take_sqes(struct ring *r)
{
	struct io_uring_sq *sq = &r->user->sq;
	uint32_t n, ready;

	sq->sqe_head = sq->sqe_tail;
	r->sq_tail = sq->sqe_tail;
	ready = n = r->sq_tail - r->sq_head;
	if (ready > 1 && chance(sim_plan.part, 13, r->rounds, ready))
		ready = 1 + (uint32_t)(draw(14, r->rounds, ready) % (ready - 1));
	for (n = 0; n < ready; n++, r->sq_head++) {
		const struct io_uring_sqe *sqe = &r->sqes[r->sq_head & sq->ring_mask];
		struct op op = { .opcode = sqe->opcode, .fd = sqe->fd, .addr = sqe->addr,
				 .off = sqe->off, .bytes = sqe->len,
				 .user_data = sqe->user_data };

		FX_CHECK(r->n_pending < OPS_MAX && sqe->flags == 0);
		if (op.opcode != IORING_OP_NOP) {
			FX_CHECK(op.opcode == IORING_OP_READ);
			op.file = fd_get(op.fd)->file;
			op.inode = fd_get(op.fd)->inode;
		}
		r->pending[r->n_pending++] = op;
	}
	return n;
}

/* 0, or the errno that io_uring_enter fails with. */
static int refusal(uint64_t round)
{
	static const int errs[] = { EAGAIN, EBUSY, ENOMEM, EINTR };

	if (sim_plan.refuses_errno && round >= sim_plan.refuses_from)
		return sim_plan.refuses_errno;
	return chance(sim_plan.refused, 15, round, 0) ? errs[draw(16, round, 0) % 4] : 0;
}

/* The library may try again so often where the kernel asks for it, and never otherwise. */
static void count_refusal(struct ring *r, int err)
{
	bool again = err == EAGAIN || err == EBUSY || err == ENOMEM;

	if (r->dead)
		fx_fail(__FILE__, __LINE__, "a ring that has refused for good is asked again");
	r->dead = err && err != EINTR && !again;
	if (!again)
		r->refused = 0;
	else if (r->cq_head == r->cq_tail && ++r->refused > CR_RING_REFUSED_MAX)
		fx_fail(__FILE__, __LINE__, "a ring that refuses is asked too often");
}

static int submit(struct io_uring *user, bool wait, bool patient)
{
	struct ring *r;
	uint32_t n;
	int err;

	enter();
	r = ring_of(user);
	FX_CHECK(r->enabled && pthread_equal(r->issuer, pthread_self()));
	if (wait && !r->n_pending && !r->n_overflow && r->cq_head == r->cq_tail &&
	    user->sq.sqe_tail == r->sq_head)
		fx_fail(__FILE__, __LINE__, "waits for a completion that nothing can bring");
	err = refusal(r->rounds++);
	if (err)
		flush_overflow(r);
	count_refusal(r, err);
	if (err) {
		pthread_mutex_unlock(&mu);
		return -err;
	}
	n = take_sqes(r);
	flush_overflow(r);
	complete_some(r, wait && patient && r->cq_head == r->cq_tail && !r->n_overflow);
	n = wait && !n && r->cq_head == r->cq_tail ? (uint32_t)-ETIME : n;
	pthread_mutex_unlock(&mu);
	return (int)n;
}

int __real_io_uring_submit_and_wait(struct io_uring *user, unsigned int wait_nr);
int __wrap_io_uring_submit_and_wait(struct io_uring *user, unsigned int wait_nr);
int __wrap_io_uring_submit_and_wait(struct io_uring *user, unsigned int wait_nr)
{
	if (!on)
		return __real_io_uring_submit_and_wait(user, wait_nr);
	FX_CHECK(wait_nr == 1);
	return submit(user, true, true);
}

int __real_io_uring_submit_and_wait_timeout(struct io_uring *user, struct io_uring_cqe **cqe, unsigned int wait_nr,
					    struct __kernel_timespec *ts, sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *user, struct io_uring_cqe **cqe, unsigned int wait_nr,
					    struct __kernel_timespec *ts, sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *user, struct io_uring_cqe **cqe, unsigned int wait_nr,
					    struct __kernel_timespec *ts, sigset_t *mask)
{
	if (!on)
		return __real_io_uring_submit_and_wait_timeout(user, cqe, wait_nr, ts, mask);
	FX_CHECK(wait_nr == 1 && ts->tv_sec == 0 && ts->tv_nsec > 0 && !mask);
	return submit(user, true, false);
}

int __real_io_uring_submit_and_get_events(struct io_uring *user);
int __wrap_io_uring_submit_and_get_events(struct io_uring *user);
int __wrap_io_uring_submit_and_get_events(struct io_uring *user)
{
	if (!on)
		return __real_io_uring_submit_and_get_events(user);
	return submit(user, false, false);
}

/* io_uring_peek_cqe() of an empty ring: fetches what overflowed. */
int __real___io_uring_get_cqe(struct io_uring *user, struct io_uring_cqe **cqe, unsigned int submit_nr,
			      unsigned int wait_nr, sigset_t *mask);
int __wrap___io_uring_get_cqe(struct io_uring *user, struct io_uring_cqe **cqe, unsigned int submit_nr,
			      unsigned int wait_nr, sigset_t *mask);
int __wrap___io_uring_get_cqe(struct io_uring *user, struct io_uring_cqe **cqe, unsigned int submit_nr,
			      unsigned int wait_nr, sigset_t *mask)
{
	struct ring *r;

	if (!on)
		return __real___io_uring_get_cqe(user, cqe, submit_nr, wait_nr, mask);
	FX_CHECK(submit_nr == 0 && wait_nr == 0);
	enter();
	r = ring_of(user);
	flush_overflow(r);
	*cqe = r->cq_head != r->cq_tail ? &r->cqes[r->cq_head & user->cq.ring_mask] : NULL;
	pthread_mutex_unlock(&mu);
	return *cqe ? 0 : -EAGAIN;
}

/* ---- From seed to seed ---- */

void sim_may_block(bool may)
{
	may_block = may;
}

void sim_begin(const struct sim_plan *plan)
{
	sim_plan = *plan;
	sim_n_files = 0;
	sim_duplicated = 0;
	timeouts = 0;
	cuts = 0;
	said_cached = -1;
	now_ns = 1000000000u;
	ticks = 0;
	on = true;
}

void sim_end(void)
{
	on = false;
	for (uint32_t i = 0; i < FDS_MAX; i++)
		FX_CHECK(!fds[i].used);
	for (uint32_t i = 0; i < RINGS_MAX; i++)
		FX_CHECK(!rings[i]);
	for (uint32_t i = 0; i < n_inodes; i++) {
		free(inodes[i]->data);
		free(inodes[i]);
	}
	n_inodes = 0;
}

uint32_t sim_open_fds(void)
{
	uint32_t n = 0;

	pthread_mutex_lock(&mu);
	for (uint32_t i = 0; i < FDS_MAX; i++)
		n += fds[i].used && !fds[i].store;
	pthread_mutex_unlock(&mu);
	return n;
}

uint32_t sim_threads(void)
{
	uint32_t n;

	pthread_mutex_lock(&mu);
	n = n_threads;
	pthread_mutex_unlock(&mu);
	return n;
}

uint32_t sim_pending(void)
{
	uint32_t n = 0;

	pthread_mutex_lock(&mu);
	for (uint32_t i = 0; i < RINGS_MAX; i++)
		n += rings[i] ? rings[i]->n_pending : 0;
	pthread_mutex_unlock(&mu);
	return n;
}

uint64_t sim_calls(void)
{
	uint64_t n;

	pthread_mutex_lock(&mu);
	n = ticks;
	pthread_mutex_unlock(&mu);
	return n;
}

uint64_t sim_timeouts(void)
{
	uint64_t n;

	pthread_mutex_lock(&mu);
	n = timeouts;
	pthread_mutex_unlock(&mu);
	return n;
}
