/* SPDX-License-Identifier: Apache-2.0 */
/* chunkctl info: everything in one chunk file, and where exactly it is damaged. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/common.h"
#include "base/file.h"
#include "base/json.h"
#include "base/out.h"
#include "base/quote.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "base/text.h"
#include "chunk/blocks.h"
#include "chunk/check.h"
#include "chunk/codec.h"
#include "chunk/findings.h"
#include "chunk/labels.h"
#include "chunk/report.h"
#include "chunk/scratch.h"
#include "cli.h"
#include "store/key.h"

static const char help[] =
"usage: chunkctl info [options] FILE...\n"
"\n"
"Prints what a chunk file is made of, with the offset of every part, its labels and its blocks, and all\n"
"that is wrong with it. Blocks are decompressed and their entries read (as verify --deep does).\n"
"\n"
"  --json       one JSON object a file\n"
"  -0, --null   names in the list on standard input (-) end with NUL, not newline\n"
"  --allow-empty  exit with 0 if the list has no name\n"
"\n"
"exit code: 0 sound, 1 findings, 2 wrong usage, a failed read or write, or a list without a name\n"
"\n"
"examples:\n"
"  chunkctl info /loki/chunks/fake/34fed081c46c3eb5/MThlMzJlNmI1YTA6...\n"
"  chunkctl verify --json DIR | jq -r 'select(.type==\"finding\").path' | sort -u |\n"
"    chunkctl info --allow-empty -\n";

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_LIST, OPTIONS_EMPTY,
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

struct info { /* the command */
	struct out     out;
	bool           json, colours, nul, allow_empty;
	struct scratch *scratch;
	int            code;
};

struct file { /* one of them */
	const char     *path;
	struct bytes    bytes;
	struct cr_key      key;
	bool            named;
	bool            unread; /* a symbolic link, say: it has a finding and no content */
	struct look     look;
	struct findings findings;
};

static const uint8_t *start(const struct file *f)
{
	return (const uint8_t *)f->bytes.p;
}

/* ---- For people ---- */

static void line(struct info *in, const char *name, const char *fmt, ...) PRINTF(3, 4);
static void line(struct info *in, const char *name, const char *fmt, ...)
{
	char text[2048];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	out_printf(&in->out, "  %-12s %s\n", name, text);
}

static void part(struct info *in, const char *name, uint64_t off, uint64_t bytes, const char *what)
{
	out_printf(&in->out, "  %-12s %10llu .. %-10llu %10llu bytes  %s\n", name,
		   (unsigned long long)off, (unsigned long long)(off + bytes),
		   (unsigned long long)bytes, what);
}

static void key_lines(struct info *in, const struct file *f)
{
	char a[TIME_TEXT_BYTES], b[TIME_TEXT_BYTES];
	struct bytes text = { 0 }, key = { 0 };

	if (!f->named) {
		line(in, "key", key_is_misplaced(f->path) ?
		     "none: the name is a chunk's, but its folders are not TENANT/FINGERPRINT" :
		     "none: the name is not a chunk's, nothing to compare the content with");
		return;
	}
	key_text(&f->key, &key);
	text_show(&text, bytes_string(&key));
	line(in, "key", "%s", bytes_string(&text));
	text.n = 0;
	text_show(&text, f->key.tenant);
	line(in, "tenant", "%s", bytes_string(&text));
	line(in, "stream", "%llx", (unsigned long long)f->key.fingerprint);
	line(in, "times", "%s to %s", time_text_ms(f->key.from_ms, a),
	     time_text_ms(f->key.through_ms, b));
	line(in, "layout", "%s", f->key.flat ? "flat (schema v11 and before)"
					     : "nested (schema v12 and later)");
	bytes_free(&text);
	bytes_free(&key);
}

static void labels_line(struct info *in, const struct file *f)
{
	struct bytes text = { 0 };

	if (!f->look.meta)
		return;
	labels_text(&in->scratch->meta, &text);
	out_printf(&in->out, "  %-12s ", "labels");
	bytes_addc(&text, '\n');
	out_bytes(&in->out, text.p, text.n);
	bytes_free(&text);
}

static void part_lines(struct info *in, const struct file *f)
{
	const struct cr_chunk *c = &f->look.chunk;
	char text[64];

	if (c->frames_bytes) {
		snprintf(text, sizeof(text), "snappy frames, %u decompressed", c->json_bytes);
		part(in, "metadata", c->frames_off, c->frames_bytes, text);
	}
	if (!c->data_off)
		return;
	snprintf(text, sizeof(text), "format %u, %s", c->version, codec_name(c->codec));
	part(in, "data", c->data_off, c->data_bytes, c->version ? text : "");
	if (c->symbols_off) {
		snprintf(text, sizeof(text), "structured metadata, %llu string%s",
			 (unsigned long long)c->symbols, plural(c->symbols));
		part(in, "symbols", c->symbols_off, c->symbols_bytes, text);
	}
	if (c->metas_off) {
		snprintf(text, sizeof(text), "metas of %llu block%s", (unsigned long long)c->blocks,
			 plural(c->blocks));
		part(in, "metas", c->metas_off, c->metas_bytes, text);
	}
}

static void block_lines(struct info *in)
{
	static const char *const states[] = {
		[CR_BLOCK_RECORDED] = "good", [CR_BLOCK_MOVED] = "moved", [CR_BLOCK_BAD] = "BAD CRC" };
	const struct block_list *blocks = &in->scratch->blocks;
	char a[TIME_TEXT_BYTES], z[TIME_TEXT_BYTES];

	if (blocks->n)
		out_printf(&in->out, "  %5s %10s %10s %12s %8s  %-30s %-30s %s\n", "block",
			   "offset",
			   "bytes", "decompressed", "entries", "first", "last", "checksum");
	for (uint32_t i = 0; i < blocks->n && !stopped(); i++) {
		const struct cr_block *b = &blocks->list[i];

		out_printf(&in->out, "  %5u %10llu %10llu %12llu %8llu  %-30s %-30s %s\n", i,
			   (unsigned long long)b->found_off, (unsigned long long)b->bytes,
			   (unsigned long long)b->uncompressed_bytes,
			   (unsigned long long)b->entries, time_text(b->mint_ns, a),
			   time_text(b->maxt_ns, z), states[b->state]);
	}
}

static void finding_lines(struct info *in, const struct file *f)
{
	struct bytes text = { 0 };

	for (uint32_t i = 0; i < f->findings.n; i++) {
		report_text(&text, f->path, "", &f->findings.list[i], in->colours);
		bytes_printf(&text, "  %s\n", finding_text(f->findings.list[i].kind));
	}
	if (f->findings.dropped)
		bytes_printf(&text, "  and %u more\n", f->findings.dropped);
	if (!f->findings.n)
		bytes_printf(&text, "sound%s: %llu %s read\n",
			     f->named ? "" : ", but Loki does not look for it there",
			     (unsigned long long)f->findings.entries,
			     f->findings.entries == 1 ? "entry" : "entries");
	out_bytes(&in->out, text.p, text.n);
	bytes_free(&text);
}

static void print_text(struct info *in, const struct file *f)
{
	struct bytes name = { 0 };

	text_show(&name, f->path);
	out_printf(&in->out, "%s%s%s\n", in->colours ? COLOUR_BOLD : "", bytes_string(&name),
		   in->colours ? COLOUR_END : "");
	bytes_free(&name);
	if (!f->unread)
		line(in, "size", "%zu byte%s, CRC32C %08x%s", f->bytes.n, plural(f->bytes.n), f->look.crc,
		     !f->named ? "" : f->look.crc == f->key.crc ? " as in the name" :
		     ", which is not the one in the name");
	key_lines(in, f);
	labels_line(in, f);
	part_lines(in, f);
	if (f->look.reason == CR_REASON_NONE && !f->unread)
		block_lines(in);
	finding_lines(in, f);
}

/* ---- For programs ---- */

static void part_json(struct bytes *b, const char *key, uint64_t off, uint64_t bytes)
{
	json_open(b, key, '{');
	json_u64(b, "offset", off);
	json_u64(b, "bytes", bytes);
	json_close(b, '}');
}

static void blocks_json(struct info *in, struct bytes *b)
{
	static const char *const states[] = {
		[CR_BLOCK_RECORDED] = "good", [CR_BLOCK_MOVED] = "moved", [CR_BLOCK_BAD] = "bad" };

	json_open(b, "block_list", '[');
	for (uint32_t i = 0; i < in->scratch->blocks.n; i++) {
		const struct cr_block *x = &in->scratch->blocks.list[i];

		json_open(b, NULL, '{');
		json_u64(b, "offset", x->found_off);
		json_u64(b, "bytes", x->bytes);
		json_u64(b, "uncompressed_bytes", x->uncompressed_bytes);
		json_u64(b, "entries", x->entries);
		json_i64(b, "mint_ns", x->mint_ns);
		json_i64(b, "maxt_ns", x->maxt_ns);
		json_string(b, "checksum", states[x->state]);
		json_close(b, '}');
	}
	json_close(b, ']');
}

static void findings_json(struct bytes *b, const struct findings *f)
{
	json_open(b, "findings", '[');
	for (uint32_t i = 0; i < f->n; i++) {
		const struct finding *x = &f->list[i];

		json_open(b, NULL, '{');
		json_string(b, "kind", finding_name(x->kind));
		json_string(b, "severity", severity_name(finding_severity(x->kind)));
		if (x->off != NOWHERE)
			json_i64(b, "offset", x->off);
		if (x->block >= 0)
			json_i64(b, "block", x->block);
		json_string(b, "text", finding_text(x->kind));
		json_string(b, "detail", x->detail);
		json_close(b, '}');
	}
	json_close(b, ']');
}

static void print_json(struct info *in, const struct file *f)
{
	const struct cr_chunk *c = &f->look.chunk;
	struct bytes b = { 0 };

	json_open(&b, NULL, '{');
	json_string(&b, "type", "chunk");
	json_string(&b, "path", f->path);
	if (!f->unread) {
		json_u64(&b, "size", f->bytes.n);
		json_hex(&b, "crc32c", f->look.crc);
	}
	if (f->named) {
		json_string(&b, "tenant", f->key.tenant);
		json_hex(&b, "fingerprint", f->key.fingerprint);
		json_i64(&b, "from_ms", f->key.from_ms);
		json_i64(&b, "through_ms", f->key.through_ms);
		json_hex(&b, "checksum", f->key.crc);
		json_string(&b, "layout", f->key.flat ? "flat" : "nested");
	}
	if (f->look.meta)
		labels_json(&in->scratch->meta, "labels", &b);
	if (c->version) {
		json_u64(&b, "format", c->version);
		json_string(&b, "codec", codec_name(c->codec));
	}
	if (c->frames_bytes)
		part_json(&b, "metadata", c->frames_off, c->frames_bytes);
	if (c->data_off)
		part_json(&b, "data", c->data_off, c->data_bytes);
	if (c->symbols_off)
		part_json(&b, "symbols", c->symbols_off, c->symbols_bytes);
	if (c->metas_off)
		part_json(&b, "metas", c->metas_off, c->metas_bytes);
	if (f->look.reason == CR_REASON_NONE && !f->unread)
		blocks_json(in, &b);
	json_u64(&b, "entries", f->findings.entries);
	findings_json(&b, &f->findings);
	json_close(&b, '}');
	bytes_addc(&b, '\n');
	out_bytes(&in->out, b.p, b.n);
	bytes_free(&b);
}

/* ---- The command ---- */

static void do_file(struct info *in, const char *path)
{
	struct file f = { .path = path, .bytes.max = FILE_BYTES_MAX + 1 };
	int err = file_read(AT_FDCWD, path, false, &f.bytes, NULL);

	f.named = cr_key_of_path(path, &f.key);
	/* a folder is what somebody gives who takes info for verify, unless it has a chunk's name */
	f.unread = (err != EISDIR || f.named) && finding_add_errno(&f.findings, err);
	if (err && !f.unread) {
		complain_errno(err, "%s", path);
		in->code = EXIT_TROUBLE;
		bytes_free(&f.bytes);
		return;
	}
	f.look = (struct look){ .key = f.named ? &f.key : NULL, .file = start(&f), .n = f.bytes.n,
				.flags = CHECK_DEEP, .s = in->scratch, .out = &f.findings };
	if (!f.unread)
		check_chunk(&f.look);
	if (in->json)
		print_json(in, &f);
	else
		print_text(in, &f);
	if (f.findings.n && in->code == EXIT_SOUND)
		in->code = EXIT_FINDINGS;
	bytes_free(&f.bytes);
}

static void do_stdin(struct info *in)
{
	int end = in->nul ? '\0' : '\n';
	char *name = NULL;
	size_t cap = 0;
	ssize_t n;
	bool any = false;

	while (!stopped() && (n = getdelim(&name, &cap, end, stdin)) > 0) {
		if (name[n - 1] == end)
			name[--n] = '\0';
		if (n)
			do_file(in, name);
		any |= n != 0;
	}
	free(name);
	if (ferror(stdin) && !stopped()) { /* ^C interrupts the read */
		complain_errno(errno, "reading standard input");
		in->code = EXIT_TROUBLE;
	} else if (!any && !in->allow_empty && !stopped()) {
		complain("standard input names no file");
		in->code = EXIT_TROUBLE;
	}
}

int cmd_info(int argc, char **argv)
{
	static struct info in;
	int opt;

	while ((opt = getopt_long(argc, argv, "h0", options, NULL)) != -1) {
		if (opt == 'h')
			return print_help(help);
		if (opt == '0')
			in.nul = true;
		else if (opt == OPT_EMPTY)
			in.allow_empty = true;
		else if (opt == OPT_JSON)
			in.json = true;
		else
			return bad_usage();
	}
	if (optind == argc) {
		complain("which file?");
		return bad_usage();
	}
	out_open(&in.out, STDOUT_FILENO, "standard output");
	in.colours = !in.json && out_colours(STDOUT_FILENO);
	in.scratch = scratch_get();
	for (int i = optind; i < argc && !stopped(); i++) {
		if (strcmp(argv[i], "-") == 0)
			do_stdin(&in);
		else
			do_file(&in, argv[i]);
	}
	scratch_put(in.scratch);
	return out_end(&in.out, stopped() && !in.out.err ? EXIT_TROUBLE : in.code);
}
