/* SPDX-License-Identifier: Apache-2.0 */
/* Deflate: tables out of code lengths, a fast loop, and a careful one for the ends of the buffers. */
#include "block_inflate.h"

#include <string.h>

#define CODE_BITS_MAX 15u

/*
 * An entry of a table says what the next bits mean. Its low byte is how many bits they are, extra
 * bits included: at most 28, so a shift by it needs no check.
 */
#define LITERAL      0x80000000u /* the byte is in bits 16-23 */
#define SPECIAL      0x8000u     /* with SECOND or END; with neither the code is undefined. Without
				  * LITERAL and SPECIAL it is a length or a distance: the base in
				  * bits 16-30, the bits of the code alone in 8-11 */
#define SECOND       0x4000u     /* the entry is in a second table, which begins at the value and
				  * is found by as many bits as 8-11 say */
#define END          0x2000u     /* end of a block */
#define UNDEFINED    SPECIAL
#define VALUE(entry) ((entry) >> 16)
#define TAKES(entry) ((entry) & 0xffu)
#define BITS_8_11(entry) ((entry) >> 8 & 15u)

#define LENGTH_MASK   ((1u << CR_INFLATE_LENGTH_LOG) - 1)
#define DISTANCE_MASK ((1u << CR_INFLATE_DISTANCE_LOG) - 1)

/* ---- Bits, lowest first ---- */

struct bits {
	uint64_t word;
	uint32_t left;          /* valid bits of word */
	const uint8_t *p, *end; /* what is not in word yet */
};

/* Of n only the low byte counts, which must be below 64. */
static inline uint64_t low_bits(uint64_t word, uint32_t n)
{
	return word & ~(~0ull << (uint8_t)n); /* in this form one instruction with BMI2 */
}

static inline void drop(struct bits *b, uint32_t n)
{
	b->word >>= n;
	b->left -= n;
}

/* Byte by byte, to the very end. Above left the word is zero, before and after. */
static inline void fill(struct bits *b)
{
	while (b->left < 56 && b->p < b->end) {
		b->word |= (uint64_t)*b->p++ << b->left;
		b->left += 8;
	}
}

static inline bool take(struct bits *b, uint32_t n, uint32_t *out)
{
	fill(b);
	if (n > b->left)
		return false;
	*out = (uint32_t)low_bits(b->word, n);
	drop(b, n);
	return true;
}

/* ---- Tables ---- */

enum alphabet { PRECODE, LENGTHS, DISTANCES };

struct range {
	uint16_t base;
	uint8_t extra_bits;
};

static const struct range length_ranges[] = {
	{ 3, 0 }, { 4, 0 }, { 5, 0 }, { 6, 0 }, { 7, 0 }, { 8, 0 }, { 9, 0 }, { 10, 0 },
	{ 11, 1 }, { 13, 1 }, { 15, 1 }, { 17, 1 }, { 19, 2 }, { 23, 2 }, { 27, 2 }, { 31, 2 },
	{ 35, 3 }, { 43, 3 }, { 51, 3 }, { 59, 3 }, { 67, 4 }, { 83, 4 }, { 99, 4 }, { 115, 4 },
	{ 131, 5 }, { 163, 5 }, { 195, 5 }, { 227, 5 }, { 258, 0 },
};

static const struct range distance_ranges[] = {
	{ 1, 0 }, { 2, 0 }, { 3, 0 }, { 4, 0 }, { 5, 1 }, { 7, 1 }, { 9, 2 }, { 13, 2 },
	{ 17, 3 }, { 25, 3 }, { 33, 4 }, { 49, 4 }, { 65, 5 }, { 97, 5 }, { 129, 6 }, { 193, 6 },
	{ 257, 7 }, { 385, 7 }, { 513, 8 }, { 769, 8 }, { 1025, 9 }, { 1537, 9 }, { 2049, 10 },
	{ 3073, 10 }, { 4097, 11 }, { 6145, 11 }, { 8193, 12 }, { 12289, 12 }, { 16385, 13 },
	{ 24577, 13 },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SYMBOL_END   256u

_Static_assert(COUNT(length_ranges) + SYMBOL_END + 1 == CR_INFLATE_LENGTHS - 2, "two undefined");
_Static_assert(COUNT(distance_ranges) == CR_INFLATE_DISTANCES - 2, "two undefined");

static inline uint32_t entry_of(enum alphabet alphabet, uint32_t symbol, uint32_t bits)
{
	const struct range *r;

	if (alphabet == PRECODE)
		return symbol << 16 | bits;
	if (alphabet == LENGTHS) {
		if (symbol < SYMBOL_END)
			return LITERAL | symbol << 16 | bits;
		if (symbol == SYMBOL_END)
			return SPECIAL | END | bits;
		if (symbol - SYMBOL_END - 1 >= COUNT(length_ranges))
			return UNDEFINED;
		r = &length_ranges[symbol - SYMBOL_END - 1];
	} else {
		if (symbol >= COUNT(distance_ranges))
			return UNDEFINED;
		r = &distance_ranges[symbol];
	}
	return (uint32_t)r->base << 16 | bits << 8 | (bits + r->extra_bits);
}

/* A code on its way into a table. */
struct builder {
	enum alphabet alphabet;
	uint32_t *table;
	uint32_t log, entries;              /* 2^log of the first step; all there is room for */
	uint16_t count[CODE_BITS_MAX + 1];  /* codes by length */
	uint16_t sorted[CR_INFLATE_LENGTHS];/* symbols by code */
	const uint16_t *next;               /* symbol of the next code */
	uint32_t code;                      /* the next code, its first bit lowest */
};

/* Counts in binary, but from the first (lowest) bit: the highest zero becomes one, and the ones above
 * it zero. False after the last code of that length. */
static inline bool next_code(uint32_t *code, uint32_t len)
{
	uint32_t zeros = *code ^ ((1u << len) - 1), bit;

	if (zeros == 0)
		return false;
	bit = 1u << (31 - __builtin_clz(zeros));
	*code = (*code & (bit - 1)) | bit;
	return true;
}

/* Sorts the symbols by code. Returns false if there are more codes than bits, or fewer: with the
 * exception of one code of one bit, and none at all, of which *partial tells. */
static bool sort_symbols(struct builder *b, const uint8_t *code_bits, uint32_t symbols, bool *partial)
{
	uint16_t at[CODE_BITS_MAX + 1];
	uint32_t i, len, used = 0, space = 0;

	for (i = 0; i < symbols; i++)
		b->count[code_bits[i]]++;
	b->count[0] = 0;
	for (len = 1; len <= CODE_BITS_MAX; len++) {
		at[len] = (uint16_t)used;
		used += b->count[len];
		space += (uint32_t)b->count[len] << (CODE_BITS_MAX - len);
	}
	*partial = space != 1u << CODE_BITS_MAX;
	if (*partial && used != 0 && !(used == 1 && b->count[1] == 1))
		return false;
	for (i = 0; i < symbols; i++)
		if (code_bits[i])
			b->sorted[at[code_bits[i]]++] = (uint16_t)i;
	b->next = b->sorted;
	if (used == 0)
		b->next = NULL;
	return true;
}

/* Zero or one code: what it does not say is undefined. */
static void build_partial(struct builder *b)
{
	uint32_t i;

	for (i = 0; i < 1u << b->log; i++)
		b->table[i] = b->next && (i & 1) == 0 ? entry_of(b->alphabet, *b->next, 1) :
							UNDEFINED;
}

/*
 * Codes of up to log bits. The table begins as one for the shortest code and is doubled for each
 * further bit. Returns the length of the codes that are left for build_long(), or 0.
 */
static uint32_t build_short(struct builder *b)
{
	uint32_t len = 1, size = 2, left;

	for (;; len++, size <<= 1) {
		for (left = b->count[len]; left; left--) {
			b->table[b->code] = entry_of(b->alphabet, *b->next++, len);
			if (!next_code(&b->code, len)) {
				for (; size < 1u << b->log; size <<= 1)
					memcpy(b->table + size, b->table, size * sizeof(*b->table));
				return 0;
			}
		}
		if (len == b->log)
			return len + 1;
		memcpy(b->table + size, b->table, size * sizeof(*b->table));
	}
}

/* How many bits the second table needs that begins with left codes of bits beyond log. */
static uint32_t second_log(const struct builder *b, uint32_t len, uint32_t left)
{
	uint32_t log = len - b->log;

	for (; left < 1u << log && len < CODE_BITS_MAX; log++)
		left = 2 * left + b->count[++len];
	return log;
}

/* Codes of len bits and more, in second tables, one for all codes that begin with the same log bits. */
static bool build_long(struct builder *b, uint32_t len)
{
	uint32_t first_mask = (1u << b->log) - 1, prefix = ~0u, start = 0, end = 1u << b->log;
	uint32_t i, log = 0, entry, left = b->count[len];

	do {
		while (left == 0) {
			if (len == CODE_BITS_MAX)
				return false;
			left = b->count[++len];
		}
		if ((b->code & first_mask) != prefix) {
			prefix = b->code & first_mask;
			log = second_log(b, len, left);
			start = end;
			end += 1u << log;
			if (end > b->entries)
				return false;
			b->table[prefix] = SPECIAL | SECOND | start << 16 | log << 8 | b->log;
		}
		entry = entry_of(b->alphabet, *b->next++, len - b->log);
		for (i = b->code >> b->log; i < 1u << log; i += 1u << (len - b->log))
			b->table[start + i] = entry;
		left--;
	} while (next_code(&b->code, len));
	return true;
}

static bool build(enum alphabet alphabet, uint32_t *table, uint32_t log, uint32_t entries,
		  const uint8_t *code_bits, uint32_t symbols)
{
	struct builder b = { .alphabet = alphabet, .table = table, .log = log, .entries = entries };
	uint32_t len;
	bool partial;

	if (!sort_symbols(&b, code_bits, symbols, &partial))
		return false;
	if (partial) {
		build_partial(&b);
		return true;
	}
	len = build_short(&b);
	return len == 0 || build_long(&b, len);
}

static bool build_both(struct cr_inflate *s, uint32_t lengths, uint32_t distances)
{
	return build(LENGTHS, s->lengths, CR_INFLATE_LENGTH_LOG, CR_INFLATE_LENGTH_ENTRIES,
		     s->code_bits, lengths) &&
	       build(DISTANCES, s->distances, CR_INFLATE_DISTANCE_LOG, CR_INFLATE_DISTANCE_ENTRIES,
		     s->code_bits + lengths, distances);
}

static bool fixed_tables(struct cr_inflate *s)
{
	if (s->fixed_loaded)
		return true;
	memset(s->code_bits, 8, 144);
	memset(s->code_bits + 144, 9, 112);
	memset(s->code_bits + 256, 7, 24);
	memset(s->code_bits + 280, 8, 8);
	memset(s->code_bits + CR_INFLATE_LENGTHS, 5, CR_INFLATE_DISTANCES);
	s->fixed_loaded = build_both(s, CR_INFLATE_LENGTHS, CR_INFLATE_DISTANCES);
	return s->fixed_loaded;
}

#define PRECODE_SYMBOLS 19u
#define PRECODE_LOG     7u /* its codes have three bits for their length, so no second step */

static bool precode_table(struct bits *b, uint32_t codes, uint32_t *table)
{
	static const uint8_t order[PRECODE_SYMBOLS] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12,
							3, 13, 2, 14, 1, 15 };
	uint8_t code_bits[PRECODE_SYMBOLS] = { 0 };
	uint32_t i, x;

	for (i = 0; i < codes; i++) {
		if (!take(b, 3, &x))
			return false;
		code_bits[order[i]] = (uint8_t)x;
	}
	return build(PRECODE, table, PRECODE_LOG, 1u << PRECODE_LOG, code_bits, PRECODE_SYMBOLS);
}

/* The lengths of n codes, themselves encoded: a length, or a repetition of the last or of zero. */
static bool code_lengths(struct bits *b, const uint32_t *table, uint8_t *out, uint32_t n)
{
	static const struct range repeats[] = { { 3, 2 }, { 3, 3 }, { 11, 7 } };
	uint32_t i = 0, entry, symbol, times;

	while (i < n) {
		fill(b);
		entry = table[low_bits(b->word, PRECODE_LOG)];
		if (entry & SPECIAL || TAKES(entry) > b->left)
			return false;
		drop(b, TAKES(entry));
		symbol = VALUE(entry);
		if (symbol <= CODE_BITS_MAX) {
			out[i++] = (uint8_t)symbol;
			continue;
		}
		symbol -= CODE_BITS_MAX + 1;
		if ((symbol == 0 && i == 0) || !take(b, repeats[symbol].extra_bits, &times))
			return false;
		times += repeats[symbol].base;
		if (times > n - i)
			return false;
		memset(out + i, symbol == 0 ? out[i - 1] : 0, times);
		i += times;
	}
	return true;
}

static bool dynamic_tables(struct cr_inflate *s, struct bits *b)
{
	uint32_t table[1u << PRECODE_LOG];
	uint32_t lengths, distances, codes;

	s->fixed_loaded = false;
	if (!take(b, 5, &lengths) || !take(b, 5, &distances) || !take(b, 4, &codes))
		return false;
	lengths += 257;
	distances += 1;
	if (lengths > CR_INFLATE_LENGTHS - 2 || distances > CR_INFLATE_DISTANCES - 2)
		return false;
	return precode_table(b, codes + 4, table) &&
	       code_lengths(b, table, s->code_bits, lengths + distances) &&
	       build_both(s, lengths, distances);
}

/* ---- What a block holds ---- */

struct out {
	uint8_t *begin, *p, *end;
};

enum loop_end {
	BLOCK_ENDS,
	MARGIN,  /* too close to the end of the input or of the room */
	NO_ROOM,
	BAD,
};

/* What one turn of the fast loop reads and writes at most, beyond where it stops. It refills twice,
 * and once more before the first turn, each time by 7 bytes at most, looking at 8; and it puts two
 * bytes and a match, whose copy runs over by less than 32. */
#define IN_MARGIN  24u
#define OUT_MARGIN (2u + 258u + 32u)

static inline uint64_t load_le64(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	x = __builtin_bswap64(x);
#endif
	return x;
}

/* Leaves 56 to 63 bits. What is above them in word are the bits that come next: putting them there
 * again changes nothing. Of left only the low byte counts in the fast loop, so that it can be
 * lessened by a whole entry. */
#define REFILL()                                                                                   \
	do {                                                                                       \
		word |= load_le64(in) << (left & 63);                                              \
		in += (63 - (left & 63)) >> 3;                                                     \
		left |= 56;                                                                        \
	} while (0)

#define DROP(entry)                                                                                \
	do {                                                                                       \
		word >>= (entry) & 63;                                                             \
		left -= (entry);                                                                   \
	} while (0)

/* Looks the next entry up before it puts the byte of this one. */
#define PUT_AND_NEXT()                                                                             \
	do {                                                                                       \
		byte = VALUE(entry);                                                               \
		entry = lengths[word & LENGTH_MASK];                                               \
		before = word;                                                                     \
		DROP(entry);                                                                       \
		*out++ = (uint8_t)byte;                                                            \
	} while (0)

/* Base and extra bits of the entry that stood at the low end of word. */
#define BASE_AND_EXTRA(entry, word) \
	(VALUE(entry) + (size_t)(low_bits(word, entry) >> BITS_8_11(entry)))

/* Where there is room for 31 bytes more than length, which is not 0. */
static inline void copy_match(uint8_t *to, size_t distance, size_t length)
{
	const uint8_t *from = to - distance, *end = to + length;

	if (__builtin_expect(distance >= 16, 1)) {
		memcpy(to, from, 16);
		memcpy(to + 16, from + 16, 16);
		if (length > 32) {
			to += 32;
			from += 32;
			do {
				memcpy(to, from, 16);
				to += 16;
				from += 16;
			} while (to < end);
		}
	} else if (distance >= 8) {
		do {
			memcpy(to, from, 8);
			to += 8;
			from += 8;
		} while (to < end);
	} else if (distance == 1) {
		memset(to, *from, length);
	} else {
		do
			*to++ = *from++;
		while (to < end);
	}
}

/*
 * Decodes while both buffers are far from their ends. A turn is up to two bytes and a match or a third
 * byte, for which 56 bits are enough: two bytes of the first step take 22, a length at most 20; then
 * it refills for the distance, at most 28. The entry of the next turn is looked up before the match
 * is copied, because that is what the next turn waits for.
 */
static inline __attribute__((always_inline)) enum loop_end
fast_loop(const struct cr_inflate *s, struct bits *b, struct out *o)
{
	const uint32_t *lengths = s->lengths, *distances = s->distances;
	const uint8_t *in = b->p, *in_stop = b->end - IN_MARGIN, *begin = o->begin;
	uint8_t *out = o->p, *out_stop = o->end - OUT_MARGIN;
	uint64_t word = b->word, before;
	uint32_t left = b->left, entry, byte;
	enum loop_end end = MARGIN;
	size_t length, distance;

	REFILL();
	entry = lengths[word & LENGTH_MASK];
	do {
		before = word;
		DROP(entry);
		if (entry & LITERAL) {
			PUT_AND_NEXT();
			if (entry & LITERAL) {
				PUT_AND_NEXT();
				if (entry & LITERAL)
					goto last_byte;
			}
		}
		if (__builtin_expect(entry & SPECIAL, 0)) {
			if (entry & SECOND) {
				entry = lengths[VALUE(entry) + low_bits(word, BITS_8_11(entry))];
				before = word;
				DROP(entry);
				if (entry & LITERAL)
					goto last_byte;
			}
			if (entry & SPECIAL) {
				end = entry & END ? BLOCK_ENDS : BAD;
				break;
			}
		}
		length = BASE_AND_EXTRA(entry, before);
		entry = distances[word & DISTANCE_MASK];
		REFILL();
		if (__builtin_expect(entry & SECOND, 0)) {
			DROP(CR_INFLATE_DISTANCE_LOG);
			entry = distances[VALUE(entry) + low_bits(word, BITS_8_11(entry))];
		}
		before = word;
		DROP(entry);
		distance = BASE_AND_EXTRA(entry, before);
		if (__builtin_expect(entry & SPECIAL || distance > (size_t)(out - begin), 0)) {
			end = BAD;
			break;
		}
		entry = lengths[word & LENGTH_MASK];
		REFILL();
		out += length;
		copy_match(out - length, distance, length);
		continue;
last_byte:
		*out++ = (uint8_t)VALUE(entry);
		entry = lengths[word & LENGTH_MASK];
		REFILL();
	} while (in < in_stop && out < out_stop);
	b->left = left & 0xff;
	b->word = low_bits(word, b->left);
	b->p = in;
	o->p = out;
	return end;
}

#if defined(__x86_64__)
/* The same code; with BMI2 the many shifts by a variable are one instruction each. */
__attribute__((target("bmi2"))) static enum loop_end
fast_loop_bmi2(const struct cr_inflate *s, struct bits *b, struct out *o)
{
	return fast_loop(s, b, o);
}

static bool has_bmi2(void)
{
	return __builtin_cpu_supports("bmi2");
}
#else
#define fast_loop_bmi2 fast_loop_portable
static bool has_bmi2(void)
{
	return false;
}
#endif

static enum loop_end fast_loop_portable(const struct cr_inflate *s, struct bits *b, struct out *o)
{
	return fast_loop(s, b, o);
}

/* The entry of the next code, taken off the input but for its extra bits. UNDEFINED also where the
 * input ends in it. */
static uint32_t next_entry(struct bits *b, const uint32_t *table, uint32_t log)
{
	uint32_t entry, bits;

	fill(b);
	entry = table[low_bits(b->word, log)];
	if (entry & SECOND) {
		if (b->left < log)
			return UNDEFINED;
		drop(b, log);
		entry = table[VALUE(entry) + low_bits(b->word, BITS_8_11(entry))];
	}
	if (TAKES(entry) > b->left)
		return UNDEFINED;
	bits = entry & (LITERAL | SPECIAL) ? TAKES(entry) : 0;
	drop(b, bits);
	return entry;
}

/* As fast_loop(), to the ends of both buffers. */
static enum loop_end careful_loop(const struct cr_inflate *s, struct bits *b, struct out *o)
{
	size_t length, distance;
	uint32_t entry;

	for (;;) {
		entry = next_entry(b, s->lengths, CR_INFLATE_LENGTH_LOG);
		if (entry & LITERAL) {
			if (o->p == o->end)
				return NO_ROOM;
			*o->p++ = (uint8_t)VALUE(entry);
			continue;
		}
		if (entry & SPECIAL)
			return entry & END ? BLOCK_ENDS : BAD;
		length = BASE_AND_EXTRA(entry, b->word);
		drop(b, TAKES(entry));
		entry = next_entry(b, s->distances, CR_INFLATE_DISTANCE_LOG);
		if (entry & SPECIAL)
			return BAD;
		distance = BASE_AND_EXTRA(entry, b->word);
		drop(b, TAKES(entry));
		if (distance > (size_t)(o->p - o->begin))
			return BAD;
		if (length > (size_t)(o->end - o->p))
			return NO_ROOM;
		for (; length; length--, o->p++)
			*o->p = *(o->p - distance);
	}
}

static enum loop_end coded(const struct cr_inflate *s, struct bits *b, struct out *o)
{
	enum loop_end end = MARGIN;

	if ((size_t)(b->end - b->p) > IN_MARGIN && (size_t)(o->end - o->p) > OUT_MARGIN) {
		if (has_bmi2() && !s->portable)
			end = fast_loop_bmi2(s, b, o);
		else
			end = fast_loop_portable(s, b, o);
	}
	return end == MARGIN ? careful_loop(s, b, o) : end;
}

/* Bytes as they are, behind their number and its complement. */
static enum loop_end stored(struct bits *b, struct out *o)
{
	uint32_t n, complement;

	b->p -= b->left / 8; /* back to the first byte that no bit was taken of */
	b->word = b->left = 0;
	if (b->end - b->p < 4)
		return BAD;
	n = b->p[0] | (uint32_t)b->p[1] << 8;
	complement = b->p[2] | (uint32_t)b->p[3] << 8;
	b->p += 4;
	if ((n ^ complement) != 0xffff || n > (size_t)(b->end - b->p))
		return BAD;
	if (n > (size_t)(o->end - o->p))
		return NO_ROOM;
	if (n) /* memcpy wants pointers even for nothing */
		memcpy(o->p, b->p, n);
	b->p += n;
	o->p += n;
	return BLOCK_ENDS;
}

enum cr_inflate_status cr_inflate(struct cr_inflate *s, struct cr_inflate_stream *stream)
{
	struct bits b = { .p = stream->src, .end = stream->src + stream->src_bytes };
	struct out o = { .begin = stream->dst, .p = stream->dst,
			 .end = stream->dst + stream->cap_bytes };
	uint32_t final, type;
	enum loop_end end;

	do {
		if (!take(&b, 1, &final) || !take(&b, 2, &type))
			return CR_INFLATE_BAD;
		if (type == 0)
			end = stored(&b, &o);
		else if (type == 1)
			end = fixed_tables(s) ? coded(s, &b, &o) : BAD;
		else if (type == 2)
			end = dynamic_tables(s, &b) ? coded(s, &b, &o) : BAD;
		else
			end = BAD;
		if (end != BLOCK_ENDS)
			return end == NO_ROOM ? CR_INFLATE_ROOM : CR_INFLATE_BAD;
	} while (!final);
	stream->used_bytes = stream->src_bytes - (size_t)(b.end - b.p) - b.left / 8;
	stream->raw_bytes = (size_t)(o.p - o.begin);
	return CR_INFLATE_OK;
}
