/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkctl salvage: the lines of a damaged chunk that can still be read.
 *
 * Three ways, the first that works:
 *	the file as it is: the blocks whose checksums are right;
 *	its data without its envelope, where only the metadata or the data length is damaged;
 *	without the block metas (they are at the end: a cut file has none): every block has its CRC32C
 *	behind it, so the end of a block is where the checksum of what came so far is followed by
 *	itself. What also decompresses and is made of whole entries is a block.
 *
 * The data's header has no checksum, and a bit of it decides how all blocks are read. So where it makes
 * no sense of any block, or is none, each format and codec is tried.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/common.h"
#include "base/file.h"
#include "base/out.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "base/text.h"
#include "chunk/blocks.h"
#include "chunk/codec.h"
#include "chunk/contents.h"
#include "chunk/lines.h"
#include "chunk/scratch.h"
#include "cli.h"

static const char help[] =
"usage: chunkctl salvage FILE -o NEW [options]\n"
"\n"
"Writes the lines of a damaged chunk that can still be read to NEW: those of all blocks whose checksum\n"
"is right, even where the file is cut and its block list is lost. FILE is not changed.\n"
"\n"
"  -o, --output NEW    a file that does not exist yet, or - for standard output\n"
"  --format F          raw (default), json (one object a line) or logfmt; these two with labels and\n"
"                      structured metadata, where they are whole\n"
"  -t, --timestamps    raw: begin each line with its time\n"
"\n"
"exit code: 0 everything was saved, 1 something is lost, 2 wrong usage, a failed read or write, or FILE\n"
"is not a chunk: neither its name nor anything in it is a chunk's\n"
"\n"
"examples:\n"
"  chunkctl salvage /loki/chunks/fake/34fed081c46c3eb5/MThlMzJlNmI1YTA6... -o lines.txt\n"
"  chunkctl salvage --format json FILE -o - | jq .\n";

enum { OPT_FORMAT = OPT_OWN };

static const struct option options[] = {
	OPTIONS_HELP,
	{ "output", required_argument, NULL, 'o' },
	{ "format", required_argument, NULL, OPT_FORMAT },
	{ "timestamps", no_argument, NULL, 't' },
	{ NULL, 0, NULL, 0 },
};

#define TRIES_MAX 65536u /* places to look for a block at */

/* The data's header, behind the data length word. */
#define LENGTH_BYTES 4u
#define MAGIC        "\x01\x2e\xe5\x6a"
#define MAGIC_BYTES  4u
#define VERSION_OFF  4u
#define CODEC_OFF    5u /* version 1 has none */
#define HEADER_BYTES 6u
#define VERSION_MAX  4u

struct salvage {
	const char      *path, *new;
	struct out       out;
	enum line_format format;
	bool             timestamps;
	struct bytes     file, labels, text;
	struct scratch  *s;
	struct cr_symbols   symbols;
	struct cr_chunk  chunk;
	uint64_t         lines, blocks, lost_blocks, lost_lines;
	const char      *unknown_loss; /* why it is not known what else is lost; NULL: it is known */
};

static const char block_list_damaged[] = "the block list is damaged";

static const uint8_t *start(const struct salvage *v)
{
	return (const uint8_t *)v->file.p;
}

/* ---- Lines out ---- */

/* Whether a block decompresses to whole entries. */
static bool is_block(struct salvage *v, const uint8_t *p, uint64_t n, uint64_t guess)
{
	struct cr_entries r = { 0 };
	struct cr_entry e;

	if (decompress(v->s, v->chunk.codec, p, n, guess, &v->s->raw) != CR_DECOMPRESS_OK)
		return false;
	cr_entries_begin(&r, v->s->raw.p, v->s->raw.bytes, v->chunk.version, NULL);
	while (entries_next(&r, &e))
		;
	cr_entries_free(&r);
	return !r.error;
}

/* Of what is in v->s->raw; those before a malformed entry. */
static void write_lines(struct salvage *v, uint64_t announced)
{
	struct cr_entries r = { 0 };
	struct cr_entry e;
	uint64_t n = 0;

	cr_entries_begin(&r, v->s->raw.p, v->s->raw.bytes, v->chunk.version, &v->symbols);
	while (entries_next(&r, &e) && !stopped()) {
		v->text.n = 0;
		lines_add(v->format, v->timestamps, &v->labels, &e, &v->text);
		out_bytes(&v->out, v->text.p, v->text.n);
		n++;
	}
	if (r.error) {
		complain("a block holds a malformed entry after %llu line%s: %s",
			 (unsigned long long)n, plural(n), r.error);
		v->lost_blocks++;
		v->lost_lines += announced > n ? announced - n : 0;
	}
	cr_entries_free(&r);
	v->lines += n;
	v->blocks++;
}

/* Labels from the metadata, where it can be read. */
static void take_labels(struct salvage *v)
{
	struct cr_meta *m = &v->s->meta;
	struct cr_key key;

	if (!chunk_meta(start(v), &v->chunk, v->s, m)) {
		cr_meta_free(m);
		complain("the metadata can't be read: the lines are without labels");
	}
	lines_labels(v->format, cr_key_of_path(v->path, &key) ? key.tenant : NULL, m, &v->labels);
}

static void take_symbols(struct salvage *v)
{
	const char *error = symbols_read(&v->symbols, v->s, start(v), &v->chunk);

	if (!error)
		return;
	complain("the structured metadata can't be read (%s): the lines are without it", error);
	v->unknown_loss = "the structured metadata is damaged";
}

/* ---- With block metas ---- */

static void save_blocks(struct salvage *v)
{
	struct block_list *blocks = &v->s->blocks;
	const uint8_t *file = start(v);

	take_symbols(v);
	blocks_find(file, &v->chunk, blocks);
	for (uint32_t i = 0; i < blocks->n && !stopped(); i++) {
		const struct cr_block *b = &blocks->list[i];

		if (b->state != CR_BLOCK_BAD &&
		    block_decompress(v->s, file, &v->chunk, b, &v->s->raw) == CR_DECOMPRESS_OK) {
			write_lines(v, b->entries);
			continue;
		}
		complain("block %u (%llu line%s) %s", i, (unsigned long long)b->entries, plural(b->entries),
			 b->state == CR_BLOCK_BAD ? "has a wrong checksum" : "does not decompress");
		v->lost_blocks++;
		v->lost_lines += b->entries;
	}
	if (blocks->cut)
		v->unknown_loss = block_list_damaged;
}

/* ---- Without block metas ---- */

/* The next place where what came since p is followed by its own CRC; NULL: there is none. Continues
 * from q with the checksum so far. */
static const uint8_t *next_end(const uint8_t *p, const uint8_t *q, const uint8_t *end,
			       uint32_t *crc)
{
	uint32_t follows;

	while (q < end && end - q > (ptrdiff_t)CR_CHUNK_CRC_BYTES) {
		*crc = cr_crc32c(*crc, q, 1);
		q++;
		memcpy(&follows, q, CR_CHUNK_CRC_BYTES);
		if (*crc == be32toh(follows) && q > p)
			return q;
	}
	return NULL;
}

/* How streams of a codec begin: where to look on behind a block that is lost. */
static const char *stream_start(uint8_t codec, size_t *n)
{
	switch (codec) {
	case CR_CODEC_GZIP:
		*n = 3;
		return "\x1f\x8b\x08";
	case CR_CODEC_ZSTD:
		*n = 4;
		return "\x28\xb5\x2f\xfd";
	case CR_CODEC_SNAPPY:
		*n = 10;
		return "\xff\x06\0\0sNaPpY";
	case CR_CODEC_LZ4_64K:
	case CR_CODEC_LZ4_256K:
	case CR_CODEC_LZ4_1M:
	case CR_CODEC_LZ4_4M:
		*n = 4;
		return "\x04\x22\x4d\x18";
	}
	*n = 0;
	return NULL;
}

/* The block that begins at p; writes its lines. Returns its end with the CRC, or NULL. */
static const uint8_t *save_block_at(struct salvage *v, const uint8_t *p, const uint8_t *end)
{
	uint32_t crc = 0;

	for (const uint8_t *q = p; (q = next_end(p, q, end, &crc)) != NULL && !stopped();) {
		if (!is_block(v, p, (uint64_t)(q - p), 0))
			continue; /* one in 2^32 by chance */
		write_lines(v, 0);
		return q + CR_CHUNK_CRC_BYTES;
	}
	return NULL;
}

static void scan_blocks(struct salvage *v, const uint8_t *p)
{
	const uint8_t *end = start(v) + v->file.n;
	size_t n;
	const char *head = stream_start(v->chunk.codec, &n);

	for (uint32_t tries = 0; p && p < end && tries < TRIES_MAX && !stopped(); tries++) {
		const uint8_t *next = save_block_at(v, p, end);

		if (!next && head && end - p > 1)
			next = memmem(p + 1, (size_t)(end - p) - 1, head, n);
		p = next;
	}
}

/* Structured metadata lies before the blocks, in the same way. */
static const uint8_t *scan_symbols(struct salvage *v, const uint8_t *p)
{
	const uint8_t *end = start(v) + v->file.n;
	uint32_t crc = 0;

	for (const uint8_t *q = p; (q = next_end(p, q, end, &crc)) != NULL;) {
		v->chunk.symbols_off = (uint64_t)(p - start(v));
		v->chunk.symbols_bytes = (uint64_t)(q - p);
		if (symbols_read(&v->symbols, v->s, start(v), &v->chunk) == NULL)
			return q + CR_CHUNK_CRC_BYTES;
	}
	complain("the structured metadata is damaged: the lines are without it");
	v->symbols.n = 0;
	return p;
}

/* chunk is what cr_chunk_parse_data() left: of it the header is of use. */
static void save_scanned(struct salvage *v)
{
	const uint8_t *at = start(v) + v->chunk.body_off;

	v->unknown_loss = block_list_damaged;
	if (!v->chunk.body_off)
		return;
	complain("the block list can't be read; looking for blocks by their checksums");
	scan_blocks(v, v->chunk.version < 4 ? at : scan_symbols(v, at));
}

/* ---- The data's header ---- */

/* Parses the data at data_off. True: its header makes entries of a block that is whole. */
static bool header_fits(struct salvage *v, uint32_t data_off)
{
	struct block_list *blocks = &v->s->blocks;

	if (cr_chunk_parse_data(start(v), v->file.n, data_off, &v->chunk) != CR_REASON_NONE)
		return false;
	blocks_find(start(v), &v->chunk, blocks);
	for (uint32_t i = 0; i < blocks->n; i++) {
		const struct cr_block *b = &blocks->list[i];

		if (b->state != CR_BLOCK_BAD &&
		    is_block(v, start(v) + b->found_off, b->bytes, b->uncompressed_bytes))
			return true;
	}
	return false;
}

/* Tries each header, and leaves the one that fits in v->file; else what it was, with the magic number:
 * what follows the metadata are data. */
static bool header_guess(struct salvage *v, uint32_t data_off)
{
	uint8_t *header = (uint8_t *)v->file.p + data_off, was[HEADER_BYTES];

	if (v->file.n - data_off < HEADER_BYTES)
		return false;
	memcpy(was, header, sizeof(was));
	memcpy(header, MAGIC, MAGIC_BYTES);
	if (header_fits(v, data_off)) /* all but the magic number was right */
		return true;
	for (uint8_t version = VERSION_MAX; version > 0; version--) {
		header[VERSION_OFF] = version;
		header[CODEC_OFF] = was[CODEC_OFF];
		if (version == 1 && header_fits(v, data_off))
			return true;
		for (uint8_t codec = 0; version > 1 && codec <= CR_CODEC_ZSTD; codec++) {
			header[CODEC_OFF] = codec;
			if (header_fits(v, data_off))
				return true;
		}
	}
	memcpy(header + MAGIC_BYTES, was + MAGIC_BYTES, HEADER_BYTES - MAGIC_BYTES);
	return false;
}

/* Where the data begins: behind the metadata where that is right, else at the first magic number. */
static bool find_data(const struct salvage *v, uint32_t *data_off)
{
	const struct cr_chunk *c = &v->chunk;

	if (!c->frames_bytes)
		return cr_chunk_find_data(start(v), v->file.n, data_off);
	*data_off = c->frames_off + c->frames_bytes + LENGTH_BYTES;
	return *data_off < v->file.n;
}

/* ---- The command ---- */

static void save(struct salvage *v)
{
	enum cr_chunk_reason reason = cr_chunk_parse(start(v), v->file.n, &v->chunk), data_reason;
	bool has_meta = v->chunk.frames_bytes > 0;
	uint32_t data_off;

	take_labels(v);
	if (reason != CR_REASON_NONE)
		complain("%s: %s", cr_chunk_reason_name(reason), cr_chunk_reason_text(reason));
	if (!find_data(v, &data_off)) {
		complain("there is no chunk data in it: nothing can be saved");
		v->unknown_loss = "no data is left";
		return;
	}
	if (!header_fits(v, data_off) && header_guess(v, data_off))
		complain("the header of the data is damaged: its blocks are of format %u, %s",
			 v->chunk.version, codec_name(v->chunk.codec));
	data_reason = cr_chunk_parse_data(start(v), v->file.n, data_off, &v->chunk);
	if (!has_meta)
		complain("the metadata is damaged; reading the data without it");
	else if (reason == CR_REASON_DATA_LENGTH)
		complain("the data length is wrong; looking for the end of the data");
	if (data_reason == CR_REASON_NONE)
		save_blocks(v);
	else
		save_scanned(v);
}

static bool open_output(struct salvage *v)
{
	int fd = STDOUT_FILENO;

	if (strcmp(v->new, "-") != 0) {
		fd = open(v->new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0) {
			complain_errno(errno, "%s", v->new);
			if (errno == EEXIST)
				complain("salvage never writes over a file: choose another name");
			return false;
		}
	}
	out_open(&v->out, fd, fd == STDOUT_FILENO ? "standard output" : v->new);
	return true;
}

static int close_output(struct salvage *v, int code)
{
	code = out_end(&v->out, code);
	if (v->out.fd == STDOUT_FILENO)
		return code;
	if (code != EXIT_TROUBLE && (fsync(v->out.fd) != 0 && errno != EINVAL && errno != EROFS)) {
		complain_errno(errno, "writing to %s", v->new);
		code = EXIT_TROUBLE;
	}
	close(v->out.fd);
	return code;
}

static int run(struct salvage *v)
{
	int err = file_read(AT_FDCWD, v->path, false, &v->file, NULL), code;
	struct cr_key key;
	bool lost;

	if (err) {
		complain_errno(err, "%s", v->path);
		return EXIT_TROUBLE;
	}
	if (!cr_chunk_resembles(start(v), v->file.n) && !cr_key_of_path(v->path, &key)) {
		complain("%s: it is no chunk: neither its name nor anything in it is a chunk's",
			 v->path);
		bytes_free(&v->file);
		return EXIT_TROUBLE;
	}
	if (!open_output(v)) {
		bytes_free(&v->file);
		return EXIT_TROUBLE;
	}
	v->s = scratch_get();
	save(v);
	lost = v->lost_blocks || v->unknown_loss;
	code = close_output(v, stopped() ? EXIT_TROUBLE : lost ? EXIT_FINDINGS : EXIT_SOUND);
	complain("saved %llu line%s of %llu block%s%s", (unsigned long long)v->lines,
		 plural(v->lines), (unsigned long long)v->blocks, plural(v->blocks), lost ? "" : ": all of them");
	if (v->lost_blocks)
		complain("lost %llu line%s of %llu block%s", (unsigned long long)v->lost_lines,
			 plural(v->lost_lines), (unsigned long long)v->lost_blocks,
			 plural(v->lost_blocks));
	if (v->unknown_loss)
		complain("how much is lost%s can't be told: %s", v->lost_blocks ? " besides" : "",
			 v->unknown_loss);
	scratch_put(v->s);
	cr_symbols_free(&v->symbols);
	bytes_free(&v->file);
	bytes_free(&v->labels);
	bytes_free(&v->text);
	return code;
}

int cmd_salvage(int argc, char **argv)
{
	static struct salvage v = { .file.max = FILE_BYTES_MAX + 1 };
	int opt;

	while ((opt = getopt_long(argc, argv, "ho:t", options, NULL)) != -1) {
		if (opt == 'h')
			return print_help(help);
		if (opt == 'o')
			v.new = optarg;
		else if (opt == 't')
			v.timestamps = true;
		else if (opt != OPT_FORMAT || !parse_line_format(optarg, &v.format))
			return bad_usage();
	}
	if (argc - optind != 1 || !v.new) {
		complain("give one chunk file, and -o NEW for its lines");
		return bad_usage();
	}
	v.path = argv[optind];
	return run(&v);
}
