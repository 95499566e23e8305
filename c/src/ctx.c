/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a context: the back-end is chosen here, once, and the workers live here. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"

static uint32_t usable_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1; /* more than 1024 CPUs: CPU_SETSIZE; the options can say better */
	return CPU_COUNT(&set) > 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

static uint32_t open_files_default(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur == RLIM_INFINITY ||
	    lim.rlim_cur / 4 > CR_OPEN_FILES_CAP)
		return CR_OPEN_FILES_CAP;
	return lim.rlim_cur / 4 > 0 ? (uint32_t)(lim.rlim_cur / 4) : 1;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* workers bounds threads of all kinds, those of the kernel included; one of each there must be. */
static void threads_take(struct cr_ctx *ctx, uint32_t workers)
{
	uint32_t all = workers, each_ring = 1 + CR_IOWQ_MAX;

	if (!all) {
		all = least(CR_THREADS_DEFAULT, cr_thread_limit() / CR_THREADS_SHARE);
		if (!all)
			all = 1;
	}
	ctx->threads_max = all;
	ctx->rings_max = least(least(ctx->cpus, CR_RINGS_MAX), all / 8 ? all / 8 : 1);
	ctx->ring_threads_max = ctx->rings_max * each_ring;
}

static int options_take(struct cr_ctx *ctx, const struct cr_options *opt)
{
	if (opt->backend > CR_BACKEND_THREADS || opt->workers > CR_WORKERS_MAX ||
	    opt->ring_entries > CR_RING_ENTRIES_MAX ||
	    (opt->ring_entries & (opt->ring_entries - 1)) != 0 ||
	    opt->file_bytes_max > CR_FILE_BYTES_MAX)
		return -EINVAL;
	ctx->cpus = opt->cpus ? least(opt->cpus, CPU_SETSIZE) : usable_cpus();
	ctx->ring_entries = opt->ring_entries;
	ctx->file_bytes_max = opt->file_bytes_max ? opt->file_bytes_max : CR_FILE_BYTES_DEFAULT;
	ctx->open_files_max = opt->open_files_max ? opt->open_files_max : open_files_default();
	ctx->page_bytes = (uint32_t)sysconf(_SC_PAGESIZE);
	threads_take(ctx, opt->workers);
	return 0;
}

static int backend_start(struct cr_ctx *ctx, const struct cr_backend_ops *ops, const char **step)
{
	uint32_t rings = ops->ring_open ? ctx->ring_threads_max : 0;

	ctx->ops = ops;
	ctx->blocked_max = ctx->threads_max > rings ? ctx->threads_max - rings : 1;
	return cr_workers_start(ctx, step);
}

/* The locks; none of these can fail on Linux. */
static void sync_init(struct cr_ctx *ctx)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&ctx->mu, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC); /* they are waited on with a time */
	pthread_cond_init(&ctx->fds_free, &monotonic);
	pthread_cond_init(&ctx->started, &monotonic);
	for (uint32_t i = 0; i < CR_WORKERS_MAX; i++)
		pthread_cond_init(&ctx->workers[i].wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void sync_destroy(struct cr_ctx *ctx)
{
	for (uint32_t i = 0; i < CR_WORKERS_MAX; i++)
		pthread_cond_destroy(&ctx->workers[i].wake);
	pthread_cond_destroy(&ctx->started);
	pthread_cond_destroy(&ctx->fds_free);
	pthread_mutex_destroy(&ctx->mu);
}

/* On overlayfs the pages of a file are those of a file in the layer below. cachestat(2) counts the pages of
 * overlayfs's own inode: none, whatever is cached (Linux 6.18). */
static bool cache_is_below(int dir_fd)
{
	struct statfs st;

	return fstatfs(dir_fd, &st) == 0 && st.f_type == OVERLAYFS_SUPER_MAGIC;
}

/* ---- Contract ---- */

int cr_ctx_open_with(const char *dir, const struct cr_options *opt,
		     const struct cr_backend_ops *const *order, struct cr_ctx **out)
{
	static const struct cr_options defaults;
	const char *step = "";
	struct cr_ctx *ctx;
	int err;

	if (out)
		*out = NULL;
	if (!dir || !out || !order[0])
		return -EINVAL;
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	ctx->backend_step = "";
	err = options_take(ctx, opt ? opt : &defaults);
	if (err)
		goto fail_free;
	ctx->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (ctx->dir_fd < 0) {
		err = -errno;
		goto fail_free;
	}
	atomic_store_explicit(&ctx->no_cachestat, cache_is_below(ctx->dir_fd), memory_order_relaxed);
	sync_init(ctx);
	for (; *order; order++) {
		err = backend_start(ctx, *order, &step);
		if (!err) {
			*out = ctx;
			return 0;
		}
		if (!ctx->backend_errno) { /* the first refusal is the one to explain */
			ctx->backend_errno = -err;
			ctx->backend_step = step;
		}
	}
	sync_destroy(ctx);
	close(ctx->dir_fd);
fail_free:
	free(ctx);
	return err;
}

int cr_ctx_open(const char *dir, const struct cr_options *opt, struct cr_ctx **out)
{
	static const struct cr_backend_ops *const preferred[] = { &cr_uring_ops, &cr_threads_ops,
								  NULL };
	bool threads = opt && opt->backend == CR_BACKEND_THREADS;

	return cr_ctx_open_with(dir, opt, preferred + (threads ? 1 : 0), out);
}

void cr_ctx_close(struct cr_ctx *ctx)
{
	if (!ctx)
		return;
	CR_ASSERT(ctx->open_files == 0); /* a batch is running: the caller's bug */
	for (enum cr_lane lane = 0; lane < LANES; lane++)
		CR_ASSERT(!ctx->lanes[lane]);
	cr_workers_stop(ctx);
	sync_destroy(ctx);
	close(ctx->dir_fd);
	free(ctx);
}

const char *cr_backend_name(const struct cr_ctx *ctx)
{
	return atomic_load_explicit(&ctx->ring_off, memory_order_relaxed) ? cr_threads_ops.name
									  : ctx->ops->name;
}

int cr_backend_errno(const struct cr_ctx *ctx, const char **step)
{
	if (step)
		*step = ctx->backend_step;
	return ctx->backend_errno;
}

uint32_t cr_workers(struct cr_ctx *ctx)
{
	uint32_t n;

	pthread_mutex_lock(&ctx->mu);
	n = ctx->threads[LANE_BLOCK] + ctx->threads[LANE_RING];
	pthread_mutex_unlock(&ctx->mu);
	return n;
}
