/* SPDX-License-Identifier: Apache-2.0 */
#include "chunk.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Metadata ---- */

#define TIME_PARTS 3 /* decimals of a second that count */

static bool digits_read(const char *p, size_t n, bool sign, int64_t *out)
{
	bool minus = sign && n && p[0] == '-';
	int64_t x = 0;

	p += minus;
	n -= minus;
	if (n == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(x, 10, &x) ||
		    __builtin_add_overflow(x, p[i] - '0', &x))
			return false;
	}
	*out = minus ? -x : x;
	return true;
}

/* Prometheus' model.Time: seconds with decimals, of which three count. */
static bool time_read(struct json_reader *r, int64_t *ms)
{
	const char *dot;
	struct json_span s;
	char part[TIME_PARTS] = { '0', '0', '0' };
	int64_t whole, parts;

	if (!json_read_number(r, &s))
		return false;
	dot = memchr(s.p, '.', s.n);
	if (!digits_read(s.p, dot ? (size_t)(dot - s.p) : s.n, true, &whole) ||
	    __builtin_mul_overflow(whole, 1000, &whole))
		return json_fail(r, "a time that is no number of seconds");
	if (dot) {
		size_t n = s.n - (size_t)(dot - s.p) - 1;

		memcpy(part, dot + 1, n < TIME_PARTS ? n : TIME_PARTS);
	}
	if (!digits_read(part, TIME_PARTS, false, &parts) ||
	    __builtin_add_overflow(whole, parts, ms))
		return json_fail(r, "a time that is no number of seconds");
	if (s.p[0] == '-' && *ms > 0) /* -0.5: the whole part has lost the sign */
		*ms = -*ms;
	return true;
}

static uint32_t keep(struct meta *m, const struct bytes *s)
{
	uint32_t at = (uint32_t)m->text.n;

	bytes_add(&m->text, s->p, s->n);
	return at;
}

static bool labels_read(struct json_reader *r, struct meta *m, struct bytes *word)
{
	m->n_labels = 0;
	if (json_peek(r) == 'n')
		return json_skip(r); /* null: no labels */
	if (!json_enter(r, '{'))
		return false;
	while (json_next(r, word)) {
		bool hidden = word->n == 8 && memcmp(word->p, "__name__", 8) == 0;
		struct label l = { .name_bytes = (uint32_t)word->n, .name = keep(m, word) };

		if (!json_read_string(r, word))
			return false;
		l.value_bytes = (uint32_t)word->n;
		l.value = keep(m, word);
		if (hidden)
			continue;
		if (m->n_labels == LABELS_MAX)
			return json_fail(r, "more labels than chunkctl takes (4096)");
		if (m->n_labels == m->cap_labels) {
			m->cap_labels = m->cap_labels ? 2 * m->cap_labels : 16;
			m->labels = mem_resize(m->labels, m->cap_labels * sizeof(*m->labels));
		}
		m->labels[m->n_labels++] = l;
	}
	return !r->error;
}

enum field { FIELD_FINGERPRINT, FIELD_USER, FIELD_FROM, FIELD_THROUGH, FIELD_METRIC, FIELD_ENCODING,
	     FIELD_UNKNOWN };

static enum field field_of(const struct bytes *name, bool *other_case)
{
	static const char *const names[] = { "fingerprint", "userID", "from", "through", "metric",
					     "encoding" };

	for (size_t i = 0; i < LEN(names); i++) {
		size_t n = strlen(names[i]);

		if (name->n != n || strncasecmp(name->p, names[i], n) != 0)
			continue;
		if (memcmp(name->p, names[i], n) != 0)
			*other_case = true;
		return (enum field)i;
	}
	return FIELD_UNKNOWN;
}

static bool field_read(struct json_reader *r, struct meta *m, enum field f, struct bytes *word)
{
	uint64_t x = 0;

	switch (f) {
	case FIELD_FINGERPRINT:
		return json_read_u64(r, &m->fingerprint);
	case FIELD_USER:
		if (!json_read_string(r, word))
			return false;
		m->tenant_bytes = (uint32_t)word->n;
		m->tenant = keep(m, word);
		return true;
	case FIELD_FROM:
		return time_read(r, &m->from_ms);
	case FIELD_THROUGH:
		return time_read(r, &m->through_ms);
	case FIELD_METRIC:
		return labels_read(r, m, word);
	case FIELD_ENCODING:
		if (!json_read_u64(r, &x))
			return false;
		m->has_encoding = true;
		m->encoding = (uint32_t)x;
		return x <= 255 || json_fail(r, "an encoding that is no byte");
	case FIELD_UNKNOWN:
		break;
	}
	return json_skip(r);
}

static void meta_reset(struct meta *m)
{
	*m = (struct meta){ .text = m->text, .labels = m->labels, .cap_labels = m->cap_labels };
	m->text.n = 0;
	m->text.full = false;
	m->text.max = 2 * CR_META_BYTES_MAX;
}

bool meta_read(struct meta *m, const char *json, size_t n)
{
	struct bytes word = { .max = CR_META_BYTES_MAX };
	struct json_reader r;
	uint32_t seen = 0;

	meta_reset(m);
	json_begin(&r, json, n);
	if (json_peek(&r) == 'n') { /* null is an object without fields, to Loki */
		json_skip(&r);
	} else if (json_enter(&r, '{')) {
		while (json_next(&r, &word)) {
			enum field f = field_of(&word, &m->other_case);

			if (f != FIELD_UNKNOWN && seen >> f & 1)
				m->twice = true;
			seen |= 1u << f;
			if (!field_read(&r, m, f, &word))
				break;
		}
	}
	bytes_free(&word);
	m->end = (size_t)(r.p - json);
	m->error = r.error;
	m->error_at = m->end;
	if (m->error)
		return false;
	m->trailing = json_peek(&r) != '\0';
	return true;
}

void meta_free(struct meta *m)
{
	bytes_free(&m->text);
	free(m->labels);
	*m = (struct meta){ 0 };
}

const char *meta_label(const struct meta *m, const char *name, size_t *n)
{
	size_t len = strlen(name);

	for (uint32_t i = 0; i < m->n_labels; i++) {
		const struct label *l = &m->labels[i];

		if (l->name_bytes != len || memcmp(m->text.p + l->name, name, len) != 0)
			continue;
		*n = l->value_bytes;
		return m->text.p + l->value;
	}
	return NULL;
}

void meta_labels_text(const struct meta *m, struct bytes *out)
{
	bytes_addc(out, '{');
	for (uint32_t i = 0; i < m->n_labels; i++) {
		const struct label *l = &m->labels[i];

		if (i)
			bytes_adds(out, ", ");
		bytes_add(out, m->text.p + l->name, l->name_bytes);
		bytes_addc(out, '=');
		json_quote(out, m->text.p + l->value, l->value_bytes);
	}
	bytes_addc(out, '}');
}

void meta_labels_json(const struct meta *m, const char *key, struct bytes *out)
{
	struct bytes name = { 0 };

	json_open(out, key, '{');
	for (uint32_t i = 0; i < m->n_labels; i++) {
		const struct label *l = &m->labels[i];

		name.n = 0;
		bytes_add(&name, m->text.p + l->name, l->name_bytes);
		json_text(out, bytes_string(&name), m->text.p + l->value, l->value_bytes);
	}
	json_close(out, '}');
	bytes_free(&name);
}

/* ---- Blocks ---- */

static bool block_at(const uint8_t *file, const struct cr_chunk *c, uint64_t off, uint64_t bytes)
{
	uint64_t end = c->file_bytes;
	const uint8_t *crc;

	if (off < c->data_off || off > end || bytes > end - off || end - off - bytes < 4)
		return false;
	crc = file + off + bytes;
	return cr_crc32c(0, file + off, bytes) ==
	       ((uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 | crc[3]);
}

/* Bounded work: cr_chunk_parse() refuses chunks whose misplaced blocks are together longer than the
 * data. */
void blocks_find(const uint8_t *file, const struct cr_chunk *c, struct block_list *out)
{
	uint64_t cursor = 0, expected = c->data_off + (c->version == 1 ? 5 : 6);
	struct cr_block meta;
	int more;

	if (c->version == 4)
		expected = c->symbols_off + c->symbols_bytes + 4;
	out->n = 0;
	while ((more = cr_chunk_block_next(file, c, &cursor, &meta)) > 0) {
		struct block *b;

		if (out->n == out->cap) {
			out->cap = out->cap ? 2 * out->cap : 64;
			out->list = mem_resize(out->list, out->cap * sizeof(*out->list));
		}
		b = &out->list[out->n++];
		*b = (struct block){ .meta = meta, .off = meta.off };
		if (block_at(file, c, meta.off, meta.bytes)) {
			expected = meta.off;
		} else if (meta.off != expected && block_at(file, c, expected, meta.bytes)) {
			b->state = BLOCK_MOVED;
			b->off = expected;
		} else {
			b->state = BLOCK_BAD;
		}
		expected += meta.bytes + 4;
	}
	out->cut = more < 0;
}

/* ---- Scratch ---- */

static struct {
	pthread_mutex_t mu;
	struct scratch *free;
} scratches = { .mu = PTHREAD_MUTEX_INITIALIZER };

struct scratch *scratch_get(void)
{
	struct scratch *s;

	pthread_mutex_lock(&scratches.mu);
	s = scratches.free;
	if (s)
		scratches.free = s->next;
	pthread_mutex_unlock(&scratches.mu);
	if (s)
		return s;
	s = mem_zero(sizeof(*s));
	if (cr_decoder_open(&s->decoder) != 0)
		die("out of memory");
	s->json.max = CR_META_BYTES_MAX + 1;
	s->raw.max = s->symbols_raw.max = RAW_BYTES_MAX + 1;
	return s;
}

#define KEEP_BYTES (4u << 20) /* of a scratch's buffers: one giant block must not stay for ever */

void scratch_put(struct scratch *s)
{
	if (s->raw.cap > KEEP_BYTES)
		bytes_free(&s->raw);
	if (s->symbols_raw.cap > KEEP_BYTES)
		bytes_free(&s->symbols_raw);
	pthread_mutex_lock(&scratches.mu);
	s->next = scratches.free;
	scratches.free = s;
	pthread_mutex_unlock(&scratches.mu);
}

bool chunk_json(const uint8_t *file, const struct cr_chunk *c, struct scratch *s)
{
	s->json.n = 0;
	if (!bytes_room(&s->json, c->json_bytes + 1u))
		return false;
	if (cr_chunk_json(file, c, s->json.p, s->json.cap) != 0)
		return false;
	s->json.n = c->json_bytes;
	return true;
}

#define GUESS_BYTES_MIN (64u << 10)

uint32_t inflate(struct scratch *s, uint32_t codec, const uint8_t *p, uint64_t n, uint64_t guess,
		 struct bytes *out)
{
	uint64_t room = guess ? guess : n * 4;
	struct cr_decode d = { .src = p, .src_bytes = n, .codec = codec };

	out->n = 0;
	out->full = false;
	/* The guess comes from the file. What memory it may ask for is in proportion to the block
	 * until the decoder itself says more. */
	if (room > n * 32 + GUESS_BYTES_MIN)
		room = n * 32 + GUESS_BYTES_MIN;
	for (;;) { /* ends: room grows up to RAW_BYTES_MAX */
		if (room < GUESS_BYTES_MIN)
			room = GUESS_BYTES_MIN;
		if (room > RAW_BYTES_MAX)
			room = RAW_BYTES_MAX;
		if (!bytes_room(out, room))
			return CR_DECODE_ROOM;
		d.dst = out->p;
		d.cap_bytes = out->cap < RAW_BYTES_MAX ? out->cap : RAW_BYTES_MAX;
		cr_block_decode(s->decoder, &d);
		if (d.status == CR_DECODE_OK)
			out->n = d.raw_bytes;
		if (d.status != CR_DECODE_ROOM || d.cap_bytes == RAW_BYTES_MAX)
			return d.status;
		room = d.raw_bytes > d.cap_bytes ? d.raw_bytes : 2 * d.cap_bytes;
	}
}

uint32_t block_inflate(struct scratch *s, const uint8_t *file, const struct cr_chunk *c,
		       const struct block *b, struct bytes *out)
{
	return inflate(s, c->codec, file + b->off, b->meta.bytes, b->meta.uncompressed_bytes, out);
}

const char *codec_name(uint32_t codec)
{
	static const char *const names[] = {
		[CR_CODEC_NONE] = "none",	  [CR_CODEC_GZIP] = "gzip",
		[CR_CODEC_LZ4_64K] = "lz4-64k",	  [CR_CODEC_SNAPPY] = "snappy",
		[CR_CODEC_LZ4_256K] = "lz4-256k", [CR_CODEC_LZ4_1M] = "lz4-1M",
		[CR_CODEC_LZ4_4M] = "lz4",	  [CR_CODEC_FLATE] = "flate",
		[CR_CODEC_ZSTD] = "zstd",
	};

	return codec < LEN(names) && names[codec] ? names[codec] : "unknown";
}

/* ---- Files ---- */

int file_read(int dir_fd, const char *path, bool follow, struct bytes *out, int64_t *mtime_ns)
{
	/* NONBLOCK: not to wait for the writer of a FIFO */
	int fd = openat(dir_fd, path,
			O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW)), err = 0;
	struct stat st;

	out->n = 0;
	if (fd < 0)
		return errno;
	if (fstat(fd, &st) != 0)
		err = errno;
	else if (!S_ISREG(st.st_mode))
		err = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	else if (st.st_size > FILE_BYTES_MAX)
		err = EFBIG;
	if (!err) {
		if (mtime_ns)
			*mtime_ns = (int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
		bytes_room(out, (size_t)st.st_size + 1);
	}
	while (!err && out->n < (size_t)st.st_size) {
		ssize_t n = read(fd, out->p + out->n, (size_t)st.st_size - out->n);

		if (n > 0)
			out->n += (size_t)n;
		else if (n == 0)
			break; /* it shrank: whoever looks at it will see */
		else if (errno != EINTR)
			err = errno;
	}
	close(fd);
	return err;
}
