/*
 * What a model may write as arguments, checked against a schema that uses every keyword, and put into every place of
 * a request: the request keeps the shape of its template.
 */
#include "daemon/config/config.h"
#include "daemon/tools/template.h"
#include "daemon/tools/tool.h"
#include "proto/json.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define OUT_MAX (1U << 24)

static const char schema[] =
	"{\"type\":\"object\",\"properties\":{"
	"\"id\":{\"type\":[\"string\",\"integer\"],\"maxLength\":40,\"not\":{\"const\":\"x\"}},"
	"\"when\":{\"type\":\"string\",\"pattern\":\"^(\\\\d+-?)*$\"},"
	"\"n\":{\"type\":\"number\",\"minimum\":-5,\"exclusiveMaximum\":100,\"multipleOf\":0.5,\"default\":1},"
	"\"list\":{\"items\":{\"$ref\":\"#/$defs/node\"},\"uniqueItems\":true,\"maxItems\":8},"
	"\"any\":{\"anyOf\":[{\"type\":\"null\"},{\"$ref\":\"#/$defs/node\"},{\"prefixItems\":[true,false]}]},"
	"\"one\":{\"oneOf\":[{\"enum\":[1,\"a\",[2]]},{\"type\":\"string\",\"minLength\":2}]}},"
	"\"maxProperties\":8,\"$defs\":{\"node\":{\"allOf\":[{\"type\":\"object\"},{\"properties\":{"
	"\"next\":{\"$ref\":\"#/$defs/node\"},\"kind\":{\"default\":\"leaf\"}},\"additionalProperties\":false}]}}}";

static const struct cfg_header header = {.name = "X-Note", .value = "a {when} {any} {id}"};
static const struct cfg_request request = {
	.method = "POST",
	.url = "http://127.0.0.1/orders/{id}/now?when={when}&any={any.next}",
	.headers = &header,
	.header_count = 1,
	.body = "{\"a\":{list},\"b\":\"say {when} {one}\",\"c\":{any},\"d\":{*}}",
};

static json_t *load_schema(void)
{
	json_t *tree = json_parse(bc_span(schema, sizeof(schema) - 1));
	struct bc_buf message;

	bc_buf_init(&message, 1024);
	BC_BUG_ON(tree == NULL || tool_schema_check(tree, &message) != BC_OK);
	BC_BUG_ON(tool_request_check(&request, tree, false, &message) != BC_OK);
	return tree;
}

static size_t count_bytes(struct bc_span text, char byte)
{
	size_t count = 0;
	size_t i;

	for (i = 0; i < text.len; i++) {
		count += text.ptr[i] == byte;
	}
	return count;
}

static void check_url(struct bc_span url)
{
	size_t i;

	BC_BUG_ON(!bc_span_has_prefix(url, "http://127.0.0.1/orders/"));
	BC_BUG_ON(count_bytes(url, '/') != 5 || count_bytes(url, '?') != 1);
	BC_BUG_ON(count_bytes(url, '&') != 1 || count_bytes(url, '#') != 0);
	BC_BUG_ON(memmem(url.ptr, url.len, "/../", 4) != NULL ||
		  memmem(url.ptr, url.len, "/./", 3) != NULL);
	for (i = 0; i < url.len; i++) {
		BC_BUG_ON((unsigned char)url.ptr[i] <= ' ' || (unsigned char)url.ptr[i] >= 0x7f);
	}
}

static void check_line(struct bc_span line)
{
	size_t i;

	BC_BUG_ON(!bc_span_has_prefix(line, "X-Note: a "));
	for (i = 0; i < line.len; i++) {
		BC_BUG_ON((unsigned char)line.ptr[i] < ' ' || line.ptr[i] == 0x7f);
	}
}

static void check_body(struct bc_span body, const json_t *args)
{
	json_t *tree = json_parse(body);
	const char *said = json_string_value(json_object_get(tree, "b"));

	BC_BUG_ON(tree == NULL || json_object_size(tree) != 4);
	BC_BUG_ON(!json_equal(json_object_get(tree, "d"), args));
	BC_BUG_ON(said == NULL || strncmp(said, "say ", 4) != 0);
	json_decref(tree);
}

static void fill(const char *text)
{
	json_t *args = json_parse(bc_span_str(text));
	struct tool_values values = {.args = args, .idempotency_key = "key"};
	struct bc_buf message;
	struct bc_buf out;

	BC_BUG_ON(args == NULL);
	bc_buf_init(&message, 1024);
	bc_buf_init(&out, OUT_MAX);
	if (tool_fill_url(&out, &request, &values, &message) == BC_OK) {
		check_url(bc_buf_span(&out));
	}
	bc_buf_clear(&out);
	if (tool_fill_header(&out, &header, &values, &message) == BC_OK) {
		check_line(bc_buf_span(&out));
	}
	bc_buf_clear(&out);
	if (tool_fill_body(&out, &request, &values, &message) == BC_OK) {
		check_body(bc_buf_span(&out), args);
	}
	bc_buf_release(&message);
	bc_buf_release(&out);
	json_decref(args);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static json_t *parameters;
	struct cfg_tool tool = {0};
	struct bc_buf message;
	char *text = NULL;
	char *again = NULL;

	if (parameters == NULL) {
		parameters = load_schema();
	}
	tool.parameters = parameters;
	bc_buf_init(&message, 1024);
	if (tool_args_check(&tool, bc_span((const char *)data, size), &text, &message) == BC_OK) {
		/* With defaults filled in nothing is left to change. */
		BC_BUG_ON(tool_args_check(&tool, bc_span_str(text), &again, &message) != BC_OK);
		BC_BUG_ON(strcmp(text, again) != 0);
		fill(text);
	} else {
		BC_BUG_ON(bc_buf_len(&message) == 0 || text != NULL);
	}
	free(text);
	free(again);
	bc_buf_release(&message);
	return 0;
}
