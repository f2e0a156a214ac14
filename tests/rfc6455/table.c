#include "tests/rfc6455/table.h"

#include <stdio.h>
#include <stdlib.h>

#define BYTES_MAX   ((size_t)64 << 20) /* of an input, of a protocol */
#define MESSAGE_MAX ((size_t)16 << 20) /* bytes, unless a case says otherwise */

static const struct {
	const char *word;
	unsigned opcode;
} opcodes[] = {{"text", WS_TEXT},      {"binary", WS_BINARY}, {"cont", WS_CONTINUATION},
	       {"close", WS_CLOSE},    {"ping", WS_PING},     {"pong", WS_PONG},
	       {"op", 0 /* follows */}};

/* One item of a case. */
struct item {
	size_t times;
	unsigned opcode;
	bool final;
	uint8_t reserved; /* as they stand in the first byte */
	bool wrong_mask;
	uint8_t key[4];
	unsigned length_bytes; /* 0: as short as can be */
	bool has_length;
	uint64_t length;
	size_t cut; /* bytes of the frame that are sent */
	struct bc_buf payload;
};

/* Where in which case we are. */
struct reader {
	const struct table_case *row;
	const char *at;
};

static void give_up(const struct reader *reader, const char *why)
{
	fprintf(stderr, "%s: %s at \"%.20s\"\n", reader->row->name, why, reader->at);
	exit(2);
}

static void put(struct bc_buf *out, const void *bytes, size_t len)
{
	BC_BUG_ON(len > 0 && bc_buf_put(out, bytes, len) != BC_OK);
}

static bool take(struct reader *reader, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(reader->at, word, len) != 0) {
		return false;
	}
	reader->at += len;
	return true;
}

/* Decimal, or hexadecimal behind 0x. */
static uint64_t take_number(struct reader *reader)
{
	char *end;
	uint64_t number = strtoull(reader->at, &end, strncmp(reader->at, "0x", 2) == 0 ? 16 : 10);

	if (end == reader->at) {
		give_up(reader, "no number");
	}
	reader->at = end;
	return number;
}

static uint8_t take_byte(struct reader *reader)
{
	char digits[3] = {0};
	char *end;
	unsigned long byte;

	memcpy(digits, reader->at, strnlen(reader->at, 2));
	byte = strtoul(digits, &end, 16);
	if (end != digits + 2) {
		give_up(reader, "no byte");
	}
	reader->at += 2;
	return (uint8_t)byte;
}

static void take_characters(struct reader *reader, const char *end, struct bc_buf *out)
{
	while (strchr(end, *reader->at) == NULL) {
		uint8_t byte = (uint8_t)*reader->at++;

		if (byte == '\\') {
			if (!take(reader, "x")) {
				give_up(reader, "no escape");
			}
			byte = take_byte(reader);
		}
		put(out, &byte, 1);
	}
}

/* len bytes: text again and again, the last time perhaps not to its end. */
static void put_over(struct bc_buf *out, struct bc_span text, uint64_t len)
{
	char *room;

	BC_BUG_ON(bc_buf_room(out, (size_t)len, &room) != BC_OK);
	for (uint64_t i = 0; text.len > 0 && i < len; i += text.len) {
		memcpy(room + i, text.ptr, len - i < text.len ? (size_t)(len - i) : text.len);
	}
	bc_buf_grow(out, text.len == 0 ? 0 : (size_t)len);
}

/* "{TEXT*N}" or "{~N}", behind the brace. */
static void take_repeated(struct reader *reader, struct bc_buf *out)
{
	struct bc_buf text;

	bc_buf_init(&text, BYTES_MAX);
	if (take(reader, "~")) {
		put_over(out, BC_SPAN_LIT("abcdefghijklmnopqrstuvw"), take_number(reader));
	} else {
		take_characters(reader, "*}", &text);
		if (!take(reader, "*")) {
			give_up(reader, "times what");
		}
		put_over(out, bc_buf_span(&text), take_number(reader) * bc_buf_len(&text));
	}
	bc_buf_release(&text);
	if (!take(reader, "}")) {
		give_up(reader, "no closing brace");
	}
}

/* Behind the opening parenthesis. */
static void take_payload(struct reader *reader, unsigned opcode, struct bc_buf *out)
{
	if (opcode == WS_CLOSE && *reader->at >= '0' && *reader->at <= '9') {
		uint64_t code = take_number(reader);
		uint8_t bytes[2] = {(uint8_t)(code >> 8), (uint8_t)code};

		put(out, bytes, 2);
		(void)take(reader, " ");
	}
	for (;;) {
		take_characters(reader, "{)", out);
		if (take(reader, ")")) {
			return;
		}
		reader->at++;
		take_repeated(reader, out);
	}
}

static void take_flag(struct reader *reader, struct item *item)
{
	switch (*reader->at++) {
	case '-':
		item->final = false;
		return;
	case '!':
		item->wrong_mask = true;
		return;
	case '/':
		while (*reader->at >= '1' && *reader->at <= '3') {
			item->reserved |= (uint8_t)(0x80 >> (*reader->at++ - '0'));
		}
		return;
	case '@':
		item->length_bytes = (unsigned)take_number(reader);
		return;
	case '^':
		item->has_length = true;
		item->length = take_number(reader);
		return;
	case '~':
		item->cut = (size_t)take_number(reader);
		return;
	case '%':
		for (size_t i = 0; i < 4; i++) {
			item->key[i] = take_byte(reader);
		}
		return;
	default:
		reader->at--;
		give_up(reader, "no flag");
	}
}

static unsigned take_opcode(struct reader *reader)
{
	for (size_t i = 0; i < BC_ARRAY_LEN(opcodes); i++) {
		if (take(reader, opcodes[i].word)) {
			return strcmp(opcodes[i].word, "op") == 0 ? (unsigned)take_number(reader)
								  : opcodes[i].opcode;
		}
	}
	give_up(reader, "no frame");
	return 0;
}

static void take_item(struct reader *reader, struct item *item)
{
	*item = (struct item){
		.times = 1, .final = true, .key = {0x37, 0xfa, 0x21, 0x3d}, .cut = SIZE_MAX};
	bc_buf_init(&item->payload, BYTES_MAX);
	if (*reader->at >= '0' && *reader->at <= '9') {
		item->times = (size_t)take_number(reader);
		if (!take(reader, "*")) {
			give_up(reader, "times of what");
		}
	}
	item->opcode = take_opcode(reader);
	while (!take(reader, "(")) {
		take_flag(reader, item);
	}
	take_payload(reader, item->opcode, &item->payload);
}

static void put_frame(const struct item *item, enum ws_role receiver, struct bc_buf *out)
{
	size_t begin = bc_buf_len(out);
	size_t payload_len = bc_buf_len(&item->payload);
	uint64_t length = item->has_length ? item->length : payload_len;
	bool masked = (receiver == WS_SERVER) != item->wrong_mask;
	unsigned length_bytes = item->length_bytes;
	uint8_t head[2];

	if (length_bytes == 0 && length > 125) {
		length_bytes = length > 65535 ? 8 : 2;
	}
	head[0] = (uint8_t)((item->final ? 0x80U : 0U) | item->reserved | item->opcode);
	head[1] = (uint8_t)(length_bytes == 0 ? length : length_bytes == 2 ? 126 : 127);
	head[1] |= masked ? 0x80 : 0;
	put(out, head, 2);
	for (unsigned i = 0; i < length_bytes; i++) {
		uint8_t byte = (uint8_t)(length >> 8 * (length_bytes - 1 - i));

		put(out, &byte, 1);
	}
	put(out, item->key, masked ? 4 : 0);
	put(out, item->payload.mem, payload_len);
	for (size_t i = 0; masked && i < payload_len; i++) {
		out->mem[out->tail - payload_len + i] ^= (char)item->key[i % 4];
	}
	if (item->cut < bc_buf_len(out) - begin) {
		out->tail = out->head + begin + item->cut;
	}
}

static void build_sent(const struct table_case *row, enum ws_role receiver, struct table_input *ret)
{
	struct reader reader = {row, row->sent};

	while (*reader.at != '\0') {
		struct item item;

		if (take(&reader, " ")) {
			continue;
		}
		if (take(&reader, "chop=")) {
			ret->chop = (size_t)take_number(&reader);
			continue;
		}
		if (take(&reader, "limit=")) {
			ret->message_max = (size_t)take_number(&reader);
			continue;
		}
		take_item(&reader, &item);
		for (size_t i = 0; i < item.times; i++) {
			put_frame(&item, receiver, &ret->bytes);
		}
		bc_buf_release(&item.payload);
	}
}

static void build_event(struct reader *reader, struct bc_buf *comes)
{
	struct ws_event event = {0};
	struct item item;

	take_item(reader, &item);
	event.opcode = (enum ws_opcode)item.opcode;
	event.payload = bc_buf_span(&item.payload);
	if (item.opcode == WS_CLOSE) {
		event.close_code = WS_CLOSE_NO_STATUS;
		if (event.payload.len > 0) {
			const uint8_t *code = (const uint8_t *)event.payload.ptr;

			event.close_code = (uint16_t)(code[0] << 8 | code[1]);
			event.payload = bc_span(event.payload.ptr + 2, event.payload.len - 2);
		}
	}
	for (size_t i = 0; i < item.times; i++) {
		table_say(comes, &event);
	}
	bc_buf_release(&item.payload);
}

static void build_comes(const struct table_case *row, struct table_input *ret)
{
	struct reader reader = {row, row->comes};

	while (*reader.at != '\0') {
		if (take(&reader, " ")) {
			continue;
		}
		if (take(&reader, "fail=")) {
			table_say_end(&ret->comes, "fail", (unsigned)take_number(&reader));
		} else if (take(&reader, "more")) {
			table_say_end(&ret->comes, "more", 0);
		} else {
			build_event(&reader, &ret->comes);
		}
	}
}

void table_build(const struct table_case *row, enum ws_role receiver, struct table_input *ret)
{
	*ret = (struct table_input){.message_max = MESSAGE_MAX};
	bc_buf_init(&ret->bytes, BYTES_MAX);
	bc_buf_init(&ret->comes, BYTES_MAX);
	build_sent(row, receiver, ret);
	build_comes(row, ret);
}

void table_input_fini(struct table_input *input)
{
	bc_buf_release(&input->bytes);
	bc_buf_release(&input->comes);
}

void table_say(struct bc_buf *protocol, const struct ws_event *event)
{
	BC_BUG_ON(bc_buf_printf(protocol, "%u %u %zu(", (unsigned)event->opcode,
				(unsigned)event->close_code, event->payload.len) != BC_OK);
	put(protocol, event->payload.ptr, event->payload.len);
	put(protocol, ") ", 2);
}

void table_say_end(struct bc_buf *protocol, const char *word, unsigned number)
{
	BC_BUG_ON(bc_buf_printf(protocol, "%s=%u ", word, number) != BC_OK);
}

/* "NAME: SENT => COMES"; false if line is none of these. */
static bool split_line(char *line, struct table_case *ret)
{
	char *colon = strstr(line, ": ");
	char *arrow = strstr(line, " =>");

	line[strcspn(line, "\n")] = '\0';
	if (colon == NULL || arrow == NULL || colon > arrow) {
		return false;
	}
	*colon = '\0';
	*arrow = '\0';
	*ret = (struct table_case){strdup(line), strdup(colon + 2), strdup(arrow + 3)};
	return true;
}

struct table_case *table_load(const char *path, size_t *ret_n)
{
	FILE *file = fopen(path, "r");
	struct table_case *rows = NULL;
	char *line = NULL;
	size_t size = 0;
	size_t n = 0;

	if (file == NULL) {
		perror(path);
		exit(2);
	}
	while (getline(&line, &size, file) > 0) {
		if (line[0] == '#' || line[0] == '\n') {
			continue;
		}
		rows = reallocarray(rows, n + 1, sizeof(*rows));
		BC_BUG_ON(rows == NULL);
		if (!split_line(line, &rows[n])) {
			fprintf(stderr, "%s: no case: %s\n", path, line);
			exit(2);
		}
		n++;
	}
	free(line);
	(void)fclose(file);
	*ret_n = n;
	return rows;
}
