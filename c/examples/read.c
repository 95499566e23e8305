/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads chunks of a store in one batch, and says which are sound: read [--threads] DIR PATH...
 * A PATH is below DIR and named as Loki names it: TENANT/FINGERPRINT/NAME, or NAME in a store of schema v11 and before.
 *
 *	cc -Ic/include c/examples/read.c build/libchunkring.a -pthread
 */
#include <chunkring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_batch(struct cr_ctx *ctx, struct cr_pool *pool, char **paths, uint32_t n)
{
	struct cr_req *reqs = calloc(n, sizeof(*reqs));
	struct cr_batch batch = { .reqs = reqs, .n = n, .alloc = cr_pool_alloc, .arg = pool, .flags = CR_CHECK_CHUNK };
	struct cr_key key;
	int failed = 0, err;

	if (!reqs)
		return 1;
	for (uint32_t i = 0; i < n; i++) {
		reqs[i].path = paths[i];
		if (cr_key_of_path(paths[i], &key))
			reqs[i].crc_want = key.crc; /* a name that is no chunk's has none: CR_BAD_CRC */
	}
	err = cr_batch_read(ctx, &batch);
	if (err)
		fprintf(stderr, "the batch is malformed: %s\n", strerror(-err));
	for (uint32_t i = 0; i < n && !err; i++) {
		if (reqs[i].status != CR_OK)
			printf("%s: %s\n", paths[i], cr_status_text(reqs[i].status));
		else if (reqs[i].blocks_bad)
			printf("%s: %u damaged blocks\n", paths[i], reqs[i].blocks_bad);
		else
			printf("%s: sound, %u bytes\n", paths[i], reqs[i].size_bytes);
		failed |= reqs[i].status != CR_OK || reqs[i].blocks_bad;
		if (reqs[i].buf) /* of failed ones, too */
			cr_pool_release(pool, reqs[i].buf);
	}
	free(reqs);
	return err ? 1 : failed;
}

int main(int argc, char **argv)
{
	struct cr_options options = { 0 };
	struct cr_pool *pool;
	struct cr_ctx *ctx;
	int code, err;

	if (argc > 1 && strcmp(argv[1], "--threads") == 0) {
		options.backend = CR_BACKEND_THREADS;
		argv++;
		argc--;
	}
	if (argc < 3) {
		fprintf(stderr, "usage: read [--threads] DIR PATH...\n");
		return 2;
	}
	err = cr_ctx_open(argv[1], &options, &ctx);
	if (err) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-err));
		return 2;
	}
	if (cr_pool_open(64 << 20, &pool) != 0)
		return 2;
	code = read_batch(ctx, pool, argv + 2, (uint32_t)(argc - 2));
	cr_pool_close(pool);
	cr_ctx_close(ctx);
	return code;
}
