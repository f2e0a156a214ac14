#include "proto/json.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>

/* A copy in memory of exactly its size: a scanner that reads too far is seen. */
static struct bc_span copy(const char *text, size_t len)
{
	char *mem = malloc(len + (len == 0));

	ck_assert_ptr_nonnull(mem);
	memcpy(mem, text, len);
	return bc_span(mem, len);
}

static void drop(struct bc_span span)
{
	free((char *)(uintptr_t)span.ptr);
}

#define NEST8  "[[[[[[[["
#define NEST64 NEST8 NEST8 NEST8 NEST8 NEST8 NEST8 NEST8 NEST8
#define END8   "]]]]]]]]"
#define END64  END8 END8 END8 END8 END8 END8 END8 END8

static const struct {
	const char *name;
	const char *text;
	const char *key;
	enum bc_err err;
	const char *value;
} members[] = {
	{"string", "{\"a\":\"x\"}", "a", BC_OK, "\"x\""},
	{"number", "{\"a\":-1.5e+3}", "a", BC_OK, "-1.5e+3"},
	{"zero", "{\"a\":0}", "a", BC_OK, "0"},
	{"words", "{\"a\":true,\"b\":false,\"c\":null}", "b", BC_OK, "false"},
	{"object", "{\"a\":{\"b\":[1,{}]},\"c\":1}", "a", BC_OK, "{\"b\":[1,{}]}"},
	{"empty containers", "{\"a\":{},\"b\":[]}", "b", BC_OK, "[]"},
	{"space everywhere", " {\t\"a\" :\r\n [ 1 , 2 ] , \"b\" : 1 } ", "a", BC_OK, "[ 1 , 2 ]"},
	{"last", "{\"a\":1,\"b\":2}", "b", BC_OK, "2"},
	{"key in a deeper object does not count", "{\"a\":{\"b\":1}}", "b", BC_E_NOTFOUND, NULL},
	{"value like a key", "{\"a\":\"b\"}", "b", BC_E_NOTFOUND, NULL},
	{"empty object", "{}", "a", BC_E_NOTFOUND, NULL},
	{"empty key", "{\"\":1}", "", BC_OK, "1"},
	{"prefix is no match", "{\"ab\":1}", "a", BC_E_NOTFOUND, NULL},
	{"escaped key", "{\"\\u0061\":1}", "a", BC_OK, "1"},
	{"escaped key, short escapes", "{\"\\\"\\\\\\/\\b\\f\\n\\r\\t\":1}", "\"\\/\b\f\n\r\t",
	 BC_OK, "1"},
	{"escaped key beyond ASCII", "{\"\\u00e9\\u20ac\\ud83d\\ude00\":1}",
	 "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", BC_OK, "1"},
	{"key beyond ASCII", "{\"\xc3\xa9\":1}", "\xc3\xa9", BC_OK, "1"},
	{"escaped quotes in values", "{\"a\":\"\\\"}\",\"b\":\"\\\\\",\"c\":\"\\\\\\\"\"}", "c",
	 BC_OK, "\"\\\\\\\"\""},
	{"brackets in strings", "{\"a\":\"]}{[\",\"b\":1}", "b", BC_OK, "1"},
	{"twice", "{\"a\":1,\"a\":2}", "a", BC_E_SYNTAX, NULL},
	{"twice, once escaped", "{\"a\":1,\"\\u0061\":2}", "a", BC_E_SYNTAX, NULL},
	{"another twice", "{\"b\":1,\"b\":2,\"a\":3}", "a", BC_OK, "3"},
	{"key with a bad escape", "{\"\\x\":1}", "a", BC_E_SYNTAX, NULL},
	{"key with a lone surrogate", "{\"\\ud83d\":1}", "a", BC_E_SYNTAX, NULL},
	{"key with U+0000", "{\"a\\u0000\":1}", "a", BC_E_SYNTAX, NULL},
	{"fault behind what is looked for", "{\"a\":1,}", "a", BC_E_SYNTAX, NULL},
	{"nothing", "", "a", BC_E_SYNTAX, NULL},
	{"no object", "[1]", "a", BC_E_SYNTAX, NULL},
	{"null", "null", "a", BC_E_SYNTAX, NULL},
	{"trailing bytes", "{\"a\":1}x", "a", BC_E_SYNTAX, NULL},
	{"trailing object", "{\"a\":1}{}", "a", BC_E_SYNTAX, NULL},
	{"comma first", "{,\"a\":1}", "a", BC_E_SYNTAX, NULL},
	{"two commas", "{\"a\":1,,\"b\":1}", "a", BC_E_SYNTAX, NULL},
	{"no comma", "{\"a\":1 \"b\":1}", "a", BC_E_SYNTAX, NULL},
	{"no colon", "{\"a\" 1}", "a", BC_E_SYNTAX, NULL},
	{"no value", "{\"a\":}", "a", BC_E_SYNTAX, NULL},
	{"no key", "{1:1}", "a", BC_E_SYNTAX, NULL},
	{"wrong bracket", "{\"a\":[1}", "a", BC_E_SYNTAX, NULL},
	{"wrong bracket inside", "{\"a\":{\"b\":[1}]}", "a", BC_E_SYNTAX, NULL},
	{"trailing comma inside", "{\"a\":[1,]}", "a", BC_E_SYNTAX, NULL},
	{"number with a leading zero", "{\"a\":01}", "a", BC_E_SYNTAX, NULL},
	{"number with a bare point", "{\"a\":1.}", "a", BC_E_SYNTAX, NULL},
	{"number without exponent", "{\"a\":1e}", "a", BC_E_SYNTAX, NULL},
	{"plus", "{\"a\":+1}", "a", BC_E_SYNTAX, NULL},
	{"minus", "{\"a\":-}", "a", BC_E_SYNTAX, NULL},
	{"half a word", "{\"a\":tru}", "a", BC_E_SYNTAX, NULL},
	{"longer word", "{\"a\":nulll}", "a", BC_E_SYNTAX, NULL},
	{"deepest", "{\"a\":" NEST64 END64 "}", "b", BC_E_NOTFOUND, NULL},
	{"too deep", "{\"a\":[" NEST64 END64 "]}", "b", BC_E_LIMIT, NULL},
};

START_TEST(member)
{
	struct bc_span text = copy(members[_i].text, strlen(members[_i].text));
	struct bc_span untouched = BC_SPAN_LIT("untouched");
	struct bc_span value = untouched;
	enum bc_err err = json_member(text, members[_i].key, &value);

	ck_assert_msg(err == members[_i].err, "%s: %s", members[_i].name, bc_err_text(err));
	if (err == BC_OK) {
		ck_assert_msg(bc_span_is(value, members[_i].value), "%s: %.*s", members[_i].name,
			      BC_SPAN_ARG(value));
	} else {
		ck_assert_ptr_eq(value.ptr, untouched.ptr);
	}
	drop(text);
}
END_TEST

/* No beginning of an object is an object. */
START_TEST(truncated)
{
	const char *text = members[_i].text;
	struct bc_span value;

	if (members[_i].err == BC_E_SYNTAX || members[_i].err == BC_E_LIMIT) {
		return;
	}
	for (size_t len = 0; text[len] != '\0'; len++) {
		struct bc_span cut = copy(text, len);

		if (strspn(text + len, " ") != strlen(text + len)) {
			ck_assert_msg(json_member(cut, members[_i].key, &value) == BC_E_SYNTAX,
				      "%s: cut at %zu", members[_i].name, len);
		}
		drop(cut);
	}
}
END_TEST

START_TEST(several_members)
{
	const char *const keys[] = {"c", "x", "a"};
	struct bc_span found[3];

	ck_assert_int_eq(json_members(BC_SPAN_LIT("{\"a\":1,\"b\":2,\"c\":3}"), keys, 3, found),
			 BC_OK);
	ck_assert(bc_span_is(found[0], "3"));
	ck_assert_ptr_null(found[1].ptr);
	ck_assert(bc_span_is(found[2], "1"));
	ck_assert_int_eq(json_members(BC_SPAN_LIT("{}"), keys, 0, found), BC_OK);
}
END_TEST

START_TEST(path)
{
	const char *const keys[] = {"session", "tools"};
	struct bc_span text = BC_SPAN_LIT("{\"tools\":0,\"session\":{\"a\":1,\"tools\":[1]}}");
	struct bc_span found;

	ck_assert_int_eq(json_path(text, keys, 2, &found), BC_OK);
	ck_assert(bc_span_is(found, "[1]"));
	ck_assert_int_eq(json_path(text, keys, 0, &found), BC_OK);
	ck_assert(bc_span_eq(found, text));
	ck_assert_int_eq(json_path(BC_SPAN_LIT("{\"session\":{}}"), keys, 2, &found),
			 BC_E_NOTFOUND);
	ck_assert_int_eq(json_path(BC_SPAN_LIT("{\"session\":null}"), keys, 2, &found),
			 BC_E_SYNTAX);
}
END_TEST

struct gathered {
	char text[256];
	size_t count;
	size_t stop_at;
};

static bool gather(void *arg, size_t index, struct bc_span value)
{
	struct gathered *gathered = arg;
	size_t len = strlen(gathered->text);

	ck_assert_uint_eq(index, gathered->count);
	ck_assert_uint_lt(len + value.len + 1, sizeof(gathered->text));
	memcpy(gathered->text + len, value.ptr, value.len);
	gathered->text[len + value.len] = '|';
	gathered->count++;
	return gathered->count != gathered->stop_at;
}

static const struct {
	const char *name;
	const char *text;
	size_t stop_at;
	enum bc_err err;
	const char *got;
} arrays[] = {
	{"empty", "[]", 0, BC_OK, ""},
	{"empty with space", " [ ] ", 0, BC_OK, ""},
	{"one", "[1]", 0, BC_OK, "1|"},
	{"many", "[ 1 , \"a,]\" ,[2,3], {\"x\":[]} ,null]", 0, BC_OK,
	 "1|\"a,]\"|[2,3]|{\"x\":[]}|null|"},
	{"stopped", "[1,2,3]", 2, BC_OK, "1|2|"},
	{"stopped in front of a fault", "[1,2,,,", 2, BC_OK, "1|2|"},
	{"trailing comma", "[1,]", 0, BC_E_SYNTAX, "1|"},
	{"no comma", "[1 2]", 0, BC_E_SYNTAX, "1|"},
	{"not closed", "[1", 0, BC_E_SYNTAX, "1|"},
	{"closed wrongly", "[1}", 0, BC_E_SYNTAX, "1|"},
	{"trailing bytes", "[1]1", 0, BC_E_SYNTAX, "1|"},
	{"object", "{}", 0, BC_E_SYNTAX, ""},
	{"nothing", "", 0, BC_E_SYNTAX, ""},
};

START_TEST(each)
{
	struct bc_span text = copy(arrays[_i].text, strlen(arrays[_i].text));
	struct gathered gathered = {.stop_at = arrays[_i].stop_at};
	enum bc_err err = json_each(text, gather, &gathered);

	ck_assert_msg(err == arrays[_i].err, "%s: %s", arrays[_i].name, bc_err_text(err));
	ck_assert_msg(bc_span_is(bc_span_str(gathered.text), arrays[_i].got), "%s: %s",
		      arrays[_i].name, gathered.text);
	drop(text);
}
END_TEST

static const struct {
	const char *name;
	const char *event;
	enum bc_err err;
	const char *type;
} events[] = {
	{"first", "{\"type\":\"a.b\",\"x\":1}", BC_OK, "a.b"},
	{"alone", "{\"type\":\"a.b\"}", BC_OK, "a.b"},
	{"space", " { \"type\" : \"a.b\" , \"x\":1 } ", BC_OK, "a.b"},
	{"empty", "{\"type\":\"\"}", BC_OK, ""},
	{"not first", "{\"event_id\":\"e\",\"type\":\"a.b\"}", BC_OK, "a.b"},
	{"behind a nested one", "{\"item\":{\"type\":\"x\"},\"type\":\"a.b\"}", BC_OK, "a.b"},
	{"nested only", "{\"item\":{\"type\":\"x\"}}", BC_E_NOTFOUND, NULL},
	{"missing", "{}", BC_E_NOTFOUND, NULL},
	{"escaped key first", "{\"ty\\u0070e\":\"a.b\"}", BC_OK, "a.b"},
	{"escaped key later", "{\"x\":1,\"ty\\u0070e\":\"a.b\"}", BC_OK, "a.b"},
	{"escaped type", "{\"type\":\"a\\u002eb\"}", BC_E_SYNTAX, NULL},
	{"escaped type later", "{\"x\":1,\"type\":\"a\\u002eb\"}", BC_E_SYNTAX, NULL},
	{"twice, not first", "{\"x\":1,\"type\":\"a\",\"type\":\"b\"}", BC_E_SYNTAX, NULL},
	{"twice, the first one first", "{\"type\":\"a\",\"type\":\"b\"}", BC_OK, "a"},
	{"twice, the first one escaped", "{\"ty\\u0070e\":\"a\",\"type\":\"b\"}", BC_E_SYNTAX,
	 NULL},
	{"longer key first", "{\"types\":\"x\",\"type\":\"a.b\"}", BC_OK, "a.b"},
	{"number", "{\"type\":5}", BC_E_SYNTAX, NULL},
	{"null", "{\"type\":null}", BC_E_SYNTAX, NULL},
	{"object", "{\"type\":{\"type\":\"x\"}}", BC_E_SYNTAX, NULL},
	{"control character", "{\"type\":\"a\nb\"}", BC_E_SYNTAX, NULL},
	{"control character later", "{\"x\":1,\"type\":\"a\nb\"}", BC_E_SYNTAX, NULL},
	{"long",
	 "{\"type\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}",
	 BC_OK, "0123456789012345678901234567890123456789012345678901234567890123456789"},
	{"cut in the key", "{\"typ", BC_E_SYNTAX, NULL},
	{"cut behind the key", "{\"type\"", BC_E_SYNTAX, NULL},
	{"cut behind the colon", "{\"type\":", BC_E_SYNTAX, NULL},
	{"cut in the type", "{\"type\":\"a.b", BC_E_SYNTAX, NULL},
	{"cut behind the type", "{\"type\":\"a.b\"", BC_E_SYNTAX, NULL},
	{"no comma", "{\"type\":\"a.b\" \"x\":1}", BC_E_SYNTAX, NULL},
	{"cut later", "{\"x\":1,\"type\":\"a.b\"", BC_E_SYNTAX, NULL},
	{"no object", "\"type\"", BC_E_SYNTAX, NULL},
	{"array", "[\"type\",\"a.b\"]", BC_E_SYNTAX, NULL},
	{"nothing", "", BC_E_SYNTAX, NULL},
};

START_TEST(type)
{
	struct bc_span event = copy(events[_i].event, strlen(events[_i].event));
	struct bc_span found;
	enum bc_err err = env_type(event, &found);

	ck_assert_msg(err == events[_i].err, "%s: %s", events[_i].name, bc_err_text(err));
	if (err == BC_OK) {
		ck_assert_msg(bc_span_is(found, events[_i].type), "%s: %.*s", events[_i].name,
			      BC_SPAN_ARG(found));
	}
	drop(event);
}
END_TEST

/* The type ends, or goes wrong, at every place of a block that is looked at as one. */
START_TEST(type_of_every_length)
{
	static const char bad[] = {'\\', '\n', '\0', 0x1f};

	for (size_t len = 0; len < 70; len++) {
		struct bc_span found;
		struct bc_buf event;

		bc_buf_init(&event, 1000);
		ck_assert_int_eq(
			bc_buf_printf(&event, "{\"type\":\"%.*s\",\"x\":0}", (int)len,
				      "\xc3\xa9 ~\x7f!#[]0123456789012345678901234567890123456789"
				      "0123456789012345678901234567890"),
			BC_OK);
		ck_assert_int_eq(env_type(bc_buf_span(&event), &found), BC_OK);
		ck_assert_uint_eq(found.len, len);
		for (size_t at = 0; at < len; at++) {
			for (size_t i = 0; i < sizeof(bad); i++) {
				char *byte = event.mem + event.head + 9 + at;
				char good = *byte;

				*byte = bad[i];
				ck_assert_msg(env_type(bc_buf_span(&event), &found) == BC_E_SYNTAX,
					      "byte %d at %zu of %zu", bad[i], at, len);
				*byte = good;
			}
		}
		bc_buf_release(&event);
	}
}
END_TEST

START_TEST(null_span)
{
	struct bc_span nothing = bc_span(NULL, 0);
	struct bc_span found;
	struct gathered gathered = {0};

	ck_assert_int_eq(env_type(nothing, &found), BC_E_SYNTAX);
	ck_assert_int_eq(json_member(nothing, "a", &found), BC_E_SYNTAX);
	ck_assert_int_eq(json_each(nothing, gather, &gathered), BC_E_SYNTAX);
	ck_assert(!json_string_is(nothing, ""));
	ck_assert_ptr_null(json_parse(nothing));
}
END_TEST

static const struct {
	const char *name;
	const char *raw;
	enum bc_err err;
	const char *text;
} strings[] = {
	{"plain", "\"abc\"", BC_OK, "abc"},
	{"empty", "\"\"", BC_OK, ""},
	{"escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", BC_OK, "\"\\/\b\f\n\r\t"},
	{"unicode", "\"\\u00e9\\u20AC\\uD83d\\uDe00\xc3\xa9\"", BC_OK,
	 "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9"},
	{"borders of the surrogates", "\"\\ud7ff\\ue000\\uffff\"", BC_OK,
	 "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
	{"greatest", "\"\\udbff\\udfff\"", BC_OK, "\xf4\x8f\xbf\xbf"},
	{"lone high surrogate", "\"\\ud83d\"", BC_E_SYNTAX, NULL},
	{"high surrogate and a letter", "\"\\ud83dx\"", BC_E_SYNTAX, NULL},
	{"two high surrogates", "\"\\ud83d\\ud83d\"", BC_E_SYNTAX, NULL},
	{"lone low surrogate", "\"\\ude00\"", BC_E_SYNTAX, NULL},
	{"U+0000", "\"a\\u0000\"", BC_E_SYNTAX, NULL},
	{"short escape", "\"\\u12\"", BC_E_SYNTAX, NULL},
	{"bad digit", "\"\\u12g4\"", BC_E_SYNTAX, NULL},
	{"unknown escape", "\"\\a\"", BC_E_SYNTAX, NULL},
	{"control character", "\"a\nb\"", BC_E_SYNTAX, NULL},
	{"quote inside", "\"a\"b\"", BC_E_SYNTAX, NULL},
	{"last quote escaped", "\"\\\"", BC_E_SYNTAX, NULL},
	{"no end", "\"abc", BC_E_SYNTAX, NULL},
	{"one quote", "\"", BC_E_SYNTAX, NULL},
	{"number", "12", BC_E_SYNTAX, NULL},
};

START_TEST(string)
{
	struct bc_span raw = copy(strings[_i].raw, strlen(strings[_i].raw));
	char out[32];
	size_t len = 77;
	enum bc_err err = json_string_get(raw, out, sizeof(out), &len);

	ck_assert_msg(err == strings[_i].err, "%s: %s", strings[_i].name, bc_err_text(err));
	if (err != BC_OK) {
		ck_assert_uint_eq(len, 77);
		ck_assert(!json_string_is(raw, "abc"));
		drop(raw);
		return;
	}
	ck_assert_msg(bc_span_is(bc_span(out, len), strings[_i].text), "%s", strings[_i].name);
	ck_assert_int_eq(out[len], '\0');
	ck_assert(json_string_is(raw, strings[_i].text));
	ck_assert(!json_string_is(raw, "another"));
	out[len] = '!';
	out[len + 1] = '\0';
	ck_assert_msg(!json_string_is(raw, out), "%s equals a longer one", strings[_i].name);
	for (size_t size = 0; size <= len; size++) {
		char *small = malloc(size + (size == 0));

		ck_assert_ptr_nonnull(small);
		ck_assert_int_eq(json_string_get(raw, small, size, &len), BC_E_LIMIT);
		free(small);
	}
	drop(raw);
}
END_TEST

static const struct {
	const char *name;
	const char *text;
	size_t len;
	const char *raw;
} writes[] = {
	{"empty", "", 0, "\"\""},
	{"plain", "abc", 3, "\"abc\""},
	{"quotes and backslashes", "\"\\/", 3, "\"\\\"\\\\/\""},
	{"short escapes", "\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
	{"control characters", "a\0\x1f\x7f", 4, "\"a\\u0000\\u001f\x7f\""},
	{"UTF-8 as it is", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9,
	 "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
	{"no UTF-8",
	 "a\xff"
	 "b\xc3",
	 4,
	 "\"a\xef\xbf\xbd"
	 "b\xef\xbf\xbd\""},
	{"cut character", "\xf0\x9f\x98", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
	{"surrogate", "\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
};

START_TEST(string_put)
{
	struct bc_span text = copy(writes[_i].text, writes[_i].len);
	struct bc_buf out;

	bc_buf_init(&out, 1000);
	ck_assert_int_eq(json_string_put(&out, text), BC_OK);
	ck_assert_msg(bc_span_is(bc_buf_span(&out), writes[_i].raw), "%s: %.*s", writes[_i].name,
		      BC_SPAN_ARG(bc_buf_span(&out)));
	bc_buf_release(&out);
	bc_buf_init(&out, 1);
	ck_assert_int_eq(json_string_put(&out, text), BC_E_LIMIT);
	bc_buf_release(&out);
	drop(text);
}
END_TEST

#define EDIT(offset, removed, literal)               \
	{                                            \
		(offset), (removed),                 \
		{                                    \
			literal, sizeof(literal) - 1 \
		}                                    \
	}

static const struct {
	const char *name;
	struct json_edit edits[4];
	size_t n;
	enum bc_err err;
	const char *result;
} splices[] = {
	{"none", {{0, 0, {NULL, 0}}}, 0, BC_OK, "0123456789"},
	{"insert in front", {EDIT(0, 0, "ab")}, 1, BC_OK, "ab0123456789"},
	{"insert behind", {EDIT(10, 0, "ab")}, 1, BC_OK, "0123456789ab"},
	{"remove", {EDIT(3, 4, "")}, 1, BC_OK, "012789"},
	{"remove, no text at all", {{3, 4, {NULL, 0}}}, 1, BC_OK, "012789"},
	{"remove everything", {EDIT(0, 10, "")}, 1, BC_OK, ""},
	{"replace two", {EDIT(1, 1, "abc"), EDIT(5, 2, "d")}, 2, BC_OK, "0abc234d789"},
	{"adjacent", {EDIT(1, 2, "a"), EDIT(3, 2, "b")}, 2, BC_OK, "0ab56789"},
	{"two at one place", {EDIT(4, 0, "a"), EDIT(4, 0, "b")}, 2, BC_OK, "0123ab456789"},
	{"out of order", {EDIT(5, 1, "a"), EDIT(1, 1, "b")}, 2, BC_E_INVALID, NULL},
	{"overlapping", {EDIT(1, 3, "a"), EDIT(3, 1, "b")}, 2, BC_E_INVALID, NULL},
	{"beyond the end", {EDIT(11, 0, "a")}, 1, BC_E_INVALID, NULL},
	{"reaching beyond the end", {EDIT(8, 3, "a")}, 1, BC_E_INVALID, NULL},
	{"length that wraps", {EDIT(8, SIZE_MAX, "a")}, 1, BC_E_INVALID, NULL},
	{"longer than the buffer",
	 {EDIT(0, 0, "0123456789012345678901234567890")},
	 1,
	 BC_E_LIMIT,
	 NULL},
};

START_TEST(splice)
{
	struct bc_span original = copy("0123456789", 10);
	struct bc_buf out;
	enum bc_err err;

	bc_buf_init(&out, 40);
	ck_assert_int_eq(bc_buf_put_str(&out, "<"), BC_OK);
	err = json_splice(&out, original, splices[_i].edits, splices[_i].n);
	ck_assert_msg(err == splices[_i].err, "%s: %s", splices[_i].name, bc_err_text(err));
	bc_buf_consume(&out, 1);
	ck_assert_msg(bc_span_is(bc_buf_span(&out), err == BC_OK ? splices[_i].result : ""),
		      "%s: %.*s", splices[_i].name, BC_SPAN_ARG(bc_buf_span(&out)));
	bc_buf_release(&out);
	drop(original);
}
END_TEST

START_TEST(splice_nothing)
{
	struct bc_buf out;
	struct json_edit edit = EDIT(0, 0, "x");

	bc_buf_init(&out, 40);
	ck_assert_int_eq(json_splice(&out, bc_span(NULL, 0), NULL, 0), BC_OK);
	ck_assert_uint_eq(bc_buf_len(&out), 0);
	ck_assert_int_eq(json_splice(&out, bc_span(NULL, 0), &edit, 1), BC_OK);
	ck_assert(bc_span_is(bc_buf_span(&out), "x"));
	bc_buf_release(&out);
}
END_TEST

static const struct {
	const char *name;
	const char *original;
	const char *key; /* of the object to change, NULL: the whole text */
	const char *set;
	enum bc_err err;
	const char *result;
} sets[] = {
	{"replace", "{\"a\":1,\"b\" : [2] ,\"c\":3}", NULL, "b", BC_OK,
	 "{\"a\":1,\"b\" : NEW ,\"c\":3}"},
	{"insert", "{\"a\":1}", NULL, "b", BC_OK, "{\"b\":NEW,\"a\":1}"},
	{"insert into nothing", "{}", NULL, "b", BC_OK, "{\"b\":NEW}"},
	{"insert into space", " { } ", NULL, "b", BC_OK, " {\"b\":NEW } "},
	{"insert keeps space", " { \"a\" : 1 } ", NULL, "b", BC_OK, " {\"b\":NEW, \"a\" : 1 } "},
	{"insert a key with a quote", "{}", NULL, "\"", BC_OK, "{\"\\\"\":NEW}"},
	{"replace an escaped key", "{\"\\u0062\":1}", NULL, "b", BC_OK, "{\"\\u0062\":NEW}"},
	{"inner replace", "{\"s\":{\"b\":1},\"b\":2}", "s", "b", BC_OK,
	 "{\"s\":{\"b\":NEW},\"b\":2}"},
	{"inner insert", "{\"s\":{\"a\":1},\"b\":2}", "s", "b", BC_OK,
	 "{\"s\":{\"b\":NEW,\"a\":1},\"b\":2}"},
	{"no object", "[]", NULL, "b", BC_E_SYNTAX, NULL},
	{"twice", "{\"b\":1,\"b\":2}", NULL, "b", BC_E_SYNTAX, NULL},
};

START_TEST(set)
{
	struct bc_span original = copy(sets[_i].original, strlen(sets[_i].original));
	struct bc_span object = original;
	struct json_edit edit;
	struct bc_buf scratch;
	struct bc_buf out;
	enum bc_err err;

	bc_buf_init(&scratch, 100);
	bc_buf_init(&out, 100);
	ck_assert_int_eq(bc_buf_put_str(&scratch, "before"), BC_OK);
	if (sets[_i].key != NULL) {
		ck_assert_int_eq(json_member(original, sets[_i].key, &object), BC_OK);
	}
	err = json_edit_set(original, object, sets[_i].set, BC_SPAN_LIT("NEW"), &scratch, &edit);
	ck_assert_msg(err == sets[_i].err, "%s: %s", sets[_i].name, bc_err_text(err));
	if (err == BC_OK) {
		ck_assert_int_eq(json_splice(&out, original, &edit, 1), BC_OK);
		ck_assert_msg(bc_span_is(bc_buf_span(&out), sets[_i].result), "%s: %.*s",
			      sets[_i].name, BC_SPAN_ARG(bc_buf_span(&out)));
	}
	bc_buf_release(&scratch);
	bc_buf_release(&out);
	drop(original);
}
END_TEST

static enum bc_err canonical_of(const char *text, struct bc_buf *out)
{
	json_t *value = json_parse(bc_span_str(text));
	enum bc_err err;

	ck_assert_msg(value != NULL, "no JSON: %s", text);
	bc_buf_init(out, 100000);
	err = json_canonical(out, value);
	json_decref(value);
	return err;
}

static const struct {
	const char *name;
	const char *text;
	const char *canonical;
} canonicals[] = {
	{"words", "[true,false,null]", "[true,false,null]"},
	{"empty", "[{},[],\"\"]", "[{},[],\"\"]"},
	{"space", " { \"a\" : [ 1 , 2 ] } ", "{\"a\":[1,2]}"},
	{"order", "{\"b\":1,\"a\":2,\"\":3,\"aa\":4,\"B\":5}",
	 "{\"\":3,\"B\":5,\"a\":2,\"aa\":4,\"b\":1}"},
	{"inner order", "[{\"b\":{\"d\":1,\"c\":2},\"a\":0}]",
	 "[{\"a\":0,\"b\":{\"c\":2,\"d\":1}}]"},
	{"order of UTF-16", "{\"\\uffff\":1,\"\\ud83d\\ude00\":2,\"\\ud7ff\":3,\"\\ue000\":4}",
	 "{\"\xed\x9f\xbf\":3,\"\xf0\x9f\x98\x80\":2,\"\xee\x80\x80\":4,\"\xef\xbf\xbf\":1}"},
	{"integers", "[0,-0,-5,9223372036854775807,-9223372036854775808]",
	 "[0,0,-5,9223372036854775807,-9223372036854775808]"},
	{"whole reals", "[1.0,-0.0,1e3,100.00,9007199254740992.0,-9007199254740992.0]",
	 "[1,0,1000,100,9007199254740992,-9007199254740992]"},
	{"reals", "[0.1,0.50,1.5e-7,-2.25,3.141592653589793]",
	 "[0.1,0.5,1.5e-07,-2.25,3.141592653589793]"},
	{"large reals", "[1e300,9007199254740994.0]", "[1e+300,9007199254740994]"},
	{"least real", "[5e-324]", "[5e-324]"},
	{"escapes", "\"\\u0061\\/\\u00e9\\n\\u000a\\u001F\"", "\"a/\xc3\xa9\\n\\n\\u001f\""},
};

START_TEST(canonical)
{
	struct bc_buf first;
	struct bc_buf again;
	char *text;

	ck_assert_int_eq(canonical_of(canonicals[_i].text, &first), BC_OK);
	ck_assert_msg(bc_span_is(bc_buf_span(&first), canonicals[_i].canonical), "%s: %.*s",
		      canonicals[_i].name, BC_SPAN_ARG(bc_buf_span(&first)));
	/* A canonical text is its own canonical text, and stands for the same value. */
	text = bc_span_dup(bc_buf_span(&first));
	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(canonical_of(text, &again), BC_OK);
	ck_assert(bc_span_eq(bc_buf_span(&first), bc_buf_span(&again)));
	free(text);
	bc_buf_release(&first);
	bc_buf_release(&again);
}
END_TEST

/* Texts of one row are equal as JSON, texts of different rows are not. */
static const char *const classes[][3] = {
	{"{\"a\":1,\"b\":2}", "{ \"b\":2, \"a\":1 }", "{\"b\":2.0,\"\\u0061\":1e0}"},
	{"{\"a\":2,\"b\":1}", "{\"b\":1,\"a\":2}", "{\"a\":20e-1,\"b\":1}"},
	{"[1,2]", "[ 1, 2 ]", "[1.0,2]"},
	{"[2,1]", "[2,1]", "[2,1.0]"},
	{"\"1\"", "\"\\u0031\"", "\"1\""},
	{"1", "1.0", "10e-1"},
	{"0.1", "1e-1", "0.10"},
	{"0.30000000000000004", "3.0000000000000004e-1", "0.300000000000000040"},
	{"0.3", "3e-1", "0.29999999999999999"},
	{"9007199254740993", "9007199254740993", "9007199254740993"},
	{"9007199254740992", "9007199254740992.0", "9007199254740992"},
	{"\"\\u00e9\"", "\"\xc3\xa9\"", "\"\\u00E9\""},
	{"null", "null", " null "},
	{"\"null\"", "\"nul\\u006c\"", "\"null\""},
	{"{}", "{ }", "{}"},
	{"[]", "[ ]", "[]"},
	{"\"\"", "\"\"", "\"\""},
	{"false", "false", "false"},
	{"0", "-0", "0e5"},
};

START_TEST(equality)
{
	for (size_t i = 0; i < BC_ARRAY_LEN(classes) * 3; i++) {
		for (size_t j = 0; j < BC_ARRAY_LEN(classes) * 3; j++) {
			const char *one = classes[i / 3][i % 3];
			const char *other = classes[j / 3][j % 3];
			struct bc_buf a;
			struct bc_buf b;

			ck_assert_int_eq(canonical_of(one, &a), BC_OK);
			ck_assert_int_eq(canonical_of(other, &b), BC_OK);
			ck_assert_msg(bc_span_eq(bc_buf_span(&a), bc_buf_span(&b)) ==
					      (i / 3 == j / 3),
				      "%s and %s", one, other);
			bc_buf_release(&a);
			bc_buf_release(&b);
		}
	}
}
END_TEST

START_TEST(canonical_depth)
{
	struct bc_buf out;

	ck_assert_int_eq(canonical_of(NEST64 END64, &out), BC_OK);
	bc_buf_release(&out);
	ck_assert_int_eq(canonical_of(NEST64 "1" END64, &out), BC_OK);
	bc_buf_release(&out);
	ck_assert_int_eq(canonical_of("[" NEST64 END64 "]", &out), BC_E_LIMIT);
	bc_buf_release(&out);
}
END_TEST

START_TEST(parse)
{
	static const char *const good[] = {"1", "\"a\"", "null", "[1]", "{\"a\":1}"};
	static const char *const bad[] = {"", "{\"a\":1,\"a\":2}", "1 2", "{", "nul"};

	for (size_t i = 0; i < BC_ARRAY_LEN(good); i++) {
		json_t *value = json_parse(bc_span_str(good[i]));

		ck_assert_msg(value != NULL, "%s", good[i]);
		json_decref(value);
	}
	for (size_t i = 0; i < BC_ARRAY_LEN(bad); i++) {
		ck_assert_msg(json_parse(bc_span_str(bad[i])) == NULL, "%s", bad[i]);
	}
	ck_assert_ptr_null(json_parse(bc_span("[1\0,2]", 7)));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json");
	TCase *cases = tcase_create("json");

	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, member, 0, (int)BC_ARRAY_LEN(members));
	tcase_add_loop_test(cases, truncated, 0, (int)BC_ARRAY_LEN(members));
	tcase_add_test(cases, several_members);
	tcase_add_test(cases, path);
	tcase_add_loop_test(cases, each, 0, (int)BC_ARRAY_LEN(arrays));
	tcase_add_loop_test(cases, type, 0, (int)BC_ARRAY_LEN(events));
	tcase_add_test(cases, type_of_every_length);
	tcase_add_test(cases, null_span);
	tcase_add_loop_test(cases, string, 0, (int)BC_ARRAY_LEN(strings));
	tcase_add_loop_test(cases, string_put, 0, (int)BC_ARRAY_LEN(writes));
	tcase_add_loop_test(cases, splice, 0, (int)BC_ARRAY_LEN(splices));
	tcase_add_test(cases, splice_nothing);
	tcase_add_loop_test(cases, set, 0, (int)BC_ARRAY_LEN(sets));
	tcase_add_loop_test(cases, canonical, 0, (int)BC_ARRAY_LEN(canonicals));
	tcase_add_test(cases, equality);
	tcase_add_test(cases, canonical_depth);
	tcase_add_test(cases, parse);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
