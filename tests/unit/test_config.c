/* The configuration as text: what is refused, with which words, and what comes out of what is accepted. */
#include "daemon/config/load.h"
#include "daemon/config/unit.h"
#include "tests/unit/tap.h"

#include <check.h>

#define FINDINGS_SIZE ((size_t)64 * 1024)

/* Enough to load, in front of tables: lines 1 and 2, and line 3. */
#define FRONT "listen=[{}]\nupstream=[{}]\n"
#define OPEN  "auth={mode=\"open\"}\n"

/* A tool on lines 4 to 8 that lacks nothing. */
#define TOOL                                                                          \
	FRONT OPEN "[[tool]]\n"                                                       \
		   "name = \"t\"\n"                                                   \
		   "description = \"d\"\n"                                            \
		   "parameters = '{\"type\":\"object\",\"properties\":{\"a\":{}}}'\n" \
		   "request = { method = \"POST\", url = \"http://h/x\", body = '{*}' }\n"

/* A read on lines 4 to 9. */
#define READER TOOL "effect = \"read\"\n"

/* A read that keeps back what the request has a place for. */
#define WITHHELD(url, header, body)                                                             \
	FRONT OPEN "[[tool]]\nname = \"t\"\ndescription = \"d\"\n"                              \
		   "parameters = '{\"type\":\"object\",\"properties\":{\"a\":{},\"ab\":{}}}'\n" \
		   "request = { method = \"POST\", url = \"" url "\", headers = { " header      \
		   " }" body " }\neffect = \"read\"\nwithheld_arguments = [\"a\"]\n"
#define PLACED                                                                                              \
	"t.toml:10:22: \"withheld_arguments\" names \"a\", which \"request\" has a place for; expected it " \
	"in the body's {*} alone\n"

static struct bc_buf findings;

static void setup(void)
{
	bc_buf_init(&findings, FINDINGS_SIZE);
}

static void teardown(void)
{
	bc_buf_release(&findings);
}

static const char *found(void)
{
	ck_assert_int_eq(bc_buf_put(&findings, "", 1), BC_OK);
	return bc_buf_span(&findings).ptr;
}

static struct cfg *load(const char *text)
{
	struct cfg *cfg = NULL;
	enum bc_err err = cfg_load_text("t.toml", bc_span_str(text), &findings, &cfg);

	ck_assert_msg(err == BC_OK, "%s: %s", bc_err_text(err), found());
	return cfg;
}

struct refusal {
	const char *text;
	const char *finding;
};

static const struct refusal refusals[] = {
	/* syntax */
	{"[session\n",
	 "t.toml:1:9: no TOML: Error while parsing table header: expected ']'; expected TOML "
	 "1.0\n"},
	{"a = 1\na = 2\n",
	 "t.toml:2:5: no TOML: Error while parsing key-value pair: cannot redefine existing integer 'a'; expected TOML "
	 "1.0\n"},
	{"a = \"x", NULL},
	{"[$x]\n", NULL}, /* what the library takes for impossible */
	{"\xc3\xa9 = 1\n", NULL},
	{"a = [1, [2, [3", NULL},
	{"a = \"\xff\"\n", NULL},

	/* names */
	{FRONT OPEN
	 "[[tool]]\ntimout = \"1s\"\nname = \"t\"\ndescription = \"d\"\nparameters = { type = \"object\" }\n"
	 "request = { method = \"GET\", url = \"http://h/\" }\n",
	 "t.toml:5:1: unknown key \"timout\" in [[tool]]; did you mean \"timeout\"?\n"},
	{FRONT OPEN "[sesion]\n",
	 "t.toml:4:2: unknown section \"sesion\"; did you mean \"session\"?\n"},
	{FRONT OPEN "[xyzzy_plugh]\n",
	 "t.toml:4:2: unknown section \"xyzzy_plugh\"; see backchannel.toml(5)\n"},
	{"workers = 2\n" FRONT OPEN,
	 "t.toml:1:1: key \"workers\" stands outside of all sections; expected it in [daemon]\n"},
	{FRONT OPEN "[daemon]\n\"a\\nb\" = 1\n",
	 "t.toml:5:1: unknown key \"a?b\" in [daemon]; see backchannel.toml(5)\n"},
	{"upstream=[{}]\n" OPEN "[listen]\n",
	 "t.toml:3:1: \"listen\" is a single table; expected [[listen]]\n"},
	{FRONT OPEN "[[session]]\n",
	 "t.toml:4:1: \"session\" is a list of tables; expected [session]\n"},
	{FRONT OPEN "session = 1\n",
	 "t.toml:4:11: \"session\" is a whole number; expected [session]\n"},
	{"listen=[1]\nupstream=[{}]\n" OPEN,
	 "t.toml:1:9: an element of \"listen\" is a whole number; expected a table\n"},
	{"include = [\"x.toml\"]\n" FRONT OPEN,
	 "t.toml:1:11: \"include\" stands in a text; expected it in a file\n"},

	/* types and ranges */
	{FRONT OPEN "[daemon]\nworkers = \"two\"\n",
	 "t.toml:5:11: \"workers\" is a string; expected a whole number\n"},
	{FRONT OPEN "[daemon]\nworkers = -1\n",
	 "t.toml:5:11: \"workers\" is -1; expected 0 to 256\n"},
	{FRONT OPEN "[daemon]\nworkers = 257\n",
	 "t.toml:5:11: \"workers\" is 257; expected 0 to 256\n"},
	{FRONT OPEN "[admin]\nport = 70000\n",
	 "t.toml:5:8: \"port\" is 70000; expected 1 to 65535\n"},
	{FRONT OPEN "[admin]\nenabled = \"yes\"\n",
	 "t.toml:5:11: \"enabled\" is a string; expected true or false\n"},
	{FRONT OPEN "[admin]\naddress = \"localhost\"\n",
	 "t.toml:5:11: \"address\" is no address; expected one of IPv4 or IPv6 in digits, such as \"127.0.0.1\"\n"},
	{FRONT OPEN "[admin]\naddress = \"\"\n",
	 "t.toml:5:11: \"address\" has 0 bytes; expected 1 to 64 bytes\n"},
	{FRONT OPEN "[admin]\naddress = \"a\\u0000b\"\n",
	 "t.toml:5:11: \"address\" holds a control character; expected printable text\n"},
	{FRONT OPEN "[session]\nidle_timeout = 10\n",
	 "t.toml:5:16: \"idle_timeout\" is a whole number; expected a duration such as \"500ms\", \"10s\", \"5m\" or "
	 "\"1h\"\n"},
	{FRONT OPEN "[session]\nidle_timeout = \"10 s\"\n",
	 "t.toml:5:16: \"idle_timeout\" is \"10 s\"; expected a duration such as"},
	{FRONT OPEN "[session]\nidle_timeout = \"10ms\"\n",
	 "t.toml:5:16: \"idle_timeout\" is \"10ms\"; expected 1s to 24h\n"},
	{FRONT OPEN "[session]\nidle_timeout = \"9999999999999999h\"\n",
	 "t.toml:5:16: \"idle_timeout\" is \"9999999999999999h\"; expected a duration such as"},
	{FRONT OPEN "[session]\nmessage_max = 17\n",
	 "t.toml:5:15: \"message_max\" is 17; expected 64KiB to 256MiB\n"},
	{FRONT OPEN "[session]\nmessage_max = \"1 MB\"\n",
	 "t.toml:5:15: \"message_max\" is \"1 MB\"; expected a size such as \"64KiB\" or \"16MiB\", or a number of "
	 "bytes\n"},
	{FRONT OPEN "[daemon]\nlog_level = \"loud\"\n",
	 "t.toml:5:13: \"log_level\" is \"loud\"; expected \"error\", \"warning\", \"notice\", \"info\" or \"debug\"\n"},
	{FRONT OPEN "[daemon]\nlog_level = 1979-05-27\n",
	 "t.toml:5:13: \"log_level\" is a date, a time or no finite number; expected \"error\""},
	{FRONT OPEN "[daemon]\nworkers = inf\n",
	 "t.toml:5:11: \"workers\" is a date, a time or no finite number; expected a whole number\n"},
	{FRONT OPEN "[daemon]\nworkers = 1.5\n",
	 "t.toml:5:11: \"workers\" is a number with a fraction; expected a whole number\n"},

	/* several options */
	{FRONT OPEN "[journal]\nsecret_key = \"env:SHORT_KEY\"\n",
	 "t.toml:5:14: the key that \"secret_key\" names is too short; expected 32 random characters or more\n"},
	{FRONT OPEN "[session]\nbacklog_low = \"256KiB\"\n",
	 "t.toml:5:15: \"backlog_low\" is not below \"backlog_high\"; expected a smaller one\n"},
	{FRONT,
	 "t.toml:1:1: \"mode\" is \"keys\" and there is no [[client_key]]; make one with \"backchannelctl key "
	 "new NAME\"\n"},
	{FRONT "[auth]\nmode = \"keys\"\n",
	 "t.toml:4:8: \"mode\" is \"keys\" and there is no [[client_key]]; make one"},
	{"upstream=[{}]\n" OPEN,
	 "t.toml:1:1: there is no [[listen]]; expected at least one, or nobody can connect\n"},
	{"listen=[{}]\n" OPEN,
	 "t.toml:1:1: there is no [[upstream]]; expected at least one provider\n"},
	{"listen=[{port=1},{port=2},{port=1}]\nupstream=[{}]\n" OPEN,
	 "t.toml:1:33: \"address\" and \"port\" are those of the [[listen]] at t.toml:1; expected others\n"},
	{"listen=[{port=9464}]\nupstream=[{}]\n" OPEN,
	 "t.toml:1:15: \"address\" and \"port\" are those of [admin]; expected others\n"},
	{"listen=[{certificate=\"/dev/null\"}]\nupstream=[{}]\n" OPEN,
	 "t.toml:1:22: \"certificate\" names /dev/null, which is no regular file; expected a readable PEM file\n"
	 "t.toml:1:22: \"certificate\" without \"key\"; expected both or none\n"},
	{"listen=[{key=\"/nowhere/x\"}]\nupstream=[{}]\n" OPEN,
	 "t.toml:1:14: \"key\" names /nowhere/x, which does not exist; expected a readable PEM file\n"
	 "t.toml:1:14: \"key\" without \"certificate\"; expected both or none\n"},

	/* upstreams and keys */
	{"listen=[{}]\nupstream=[{},{}]\n" OPEN,
	 "t.toml:2:14: \"name\" is the same as in the [[upstream]] at t.toml:2; expected a different one\n"},
	{"listen=[{}]\nupstream=[{url=\"https://h/\"}]\n" OPEN,
	 "t.toml:2:16: \"url\" begins with https://; expected wss:// or ws://\n"},
	{"listen=[{}]\nupstream=[{url=\"ws:/h\"}]\n" OPEN,
	 "t.toml:2:16: \"url\" is no usable URL: it does not begin with a scheme and ://; expected "
	 "scheme://host[:port]/path\n"},
	{"listen=[{}]\nupstream=[{url=\"ws://user:pass@h/\"}]\n" OPEN,
	 "t.toml:2:16: \"url\" is no usable URL: it holds a user name, which is no place for a secret; expected "
	 "scheme://host[:port]/path\n"},
	{"listen=[{}]\nupstream=[{proxy=\"https://h\"}]\n" OPEN,
	 "t.toml:2:18: \"proxy\" begins with https://; expected http://\n"},
	{"listen=[{}]\nupstream=[{key=\"sk-hush\"}]\n" OPEN,
	 "t.toml:2:16: \"key\" is no reference; expected \"file:PATH\", \"env:NAME\" or \"credential:NAME\"\n"},
	{"listen=[{}]\nupstream=[{key=\"env:BACKCHANNEL_TEST_ABSENT\"}]\n" OPEN,
	 "t.toml:2:16: \"key\" names env:BACKCHANNEL_TEST_ABSENT, which is not set; set that environment variable\n"},
	{"listen=[{}]\nupstream=[{key=\"file:/nowhere/key\"}]\n" OPEN,
	 "t.toml:2:16: \"key\" names file:/nowhere/key, which does not exist; expected a readable file with the "
	 "secret\n"},
	{"listen=[{}]\nupstream=[{key=\"credential:a/b\"}]\n" OPEN,
	 "t.toml:2:16: \"key\" names credential:a/b, which is no name of a credential; a name has no slash\n"},
	{FRONT "[[client_key]]\nname = \"a\"\n",
	 "t.toml:3:1: [[client_key]] has no \"sha256\"; expected a string\n"},
	{FRONT "[[client_key]]\nname = \"a\"\nsha256 = \"bck_hush\"\n",
	 "t.toml:5:10: \"sha256\" has 8 bytes; expected 64 bytes\n"},
	{FRONT "[[client_key]]\nname = \"a\"\n"
	       "sha256 = \"zz86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n",
	 "t.toml:5:10: \"sha256\" is no SHA-256; expected the 64 hexadecimal digits that \"backchannelctl key new\" "
	 "prints\n"},
	{FRONT "[[client_key]]\nname = \"a\"\nupstream = \"other\"\n"
	       "sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n",
	 "t.toml:5:12: there is no upstream \"other\"; expected the name of an [[upstream]]\n"},

	/* tools */
	{FRONT OPEN "[[tool]]\n",
	 "t.toml:4:1: [[tool]] has no \"name\"; expected a string\n"
	 "t.toml:4:1: [[tool]] has no \"description\"; expected a string\n"
	 "t.toml:4:1: [[tool]] has no \"parameters\"; expected a table, or a string that "
	 "holds JSON\n"
	 "t.toml:4:1: [[tool]] has no \"request\"; expected a table with method, url, "
	 "headers and body\n"},
	{TOOL "[[tool]]\nname = \"t\"\ndescription = \"d\"\nparameters = { type = \"object\" }\n"
	      "request = { method = \"GET\", url = \"http://h/\" }\n",
	 "t.toml:10:8: \"name\" is the same as in the [[tool]] at t.toml:4; expected a different one\n"},
	{TOOL "effect = \"reversible\"\n",
	 "t.toml:9:10: \"effect\" is \"reversible\" without \"undo\"; expected the request that undoes a call\n"},
	{TOOL "warmup = { method = \"POST\", url = \"http://h/\" }\n",
	 "t.toml:9:10: \"warmup\" is more than a plain request; expected method \"GET\", without body and placeholders\n"},
	{TOOL "warmup = { method = \"GET\", url = \"http://h/{idempotency_key}\" }\n",
	 "t.toml:9:10: \"warmup\" is more than a plain request; expected method \"GET\", without body and placeholders\n"},
	{TOOL "[speculation]\nkill_share = 40\n",
	 "t.toml:9:1: \"kill_recover\" is not below \"kill_share\"; expected a smaller share, or the kill switch would flap\n"},
	{TOOL "effect = \"read\"\nundo = { method = \"POST\", url = \"http://h/\" }\n",
	 "t.toml:10:8: \"undo\" of a tool whose effect is \"read\"; expected none, or another effect\n"},
	{TOOL
	 "effect = \"reversible\"\nundo = { method = \"POST\", url = \"http://h/{result.id}\" }\n",
	 "t.toml:10:8: \"undo\" needs {result}, which a crash can lose; expected \"status\", or \"idempotency\" of "
	 "\"key\" or \"natural\"\n"},
	{TOOL "undo = { method = \"POST\", url = \"http://h/{args.b}\" }\n",
	 "t.toml:9:8: \"undo\" names {args.b}; expected a property of \"parameters\"\n"},
	{TOOL "status = { method = \"GET\", url = \"http://h/{result.id}\" }\n",
	 "t.toml:9:10: \"status\" names {result.id}; expected {result.x} in undo only\n"},
	{TOOL "status = { method = \"GET\", url = \"http://h/{*}\" }\n",
	 "t.toml:9:10: \"status\" has {*} outside of its body; expected {name}\n"},
	{TOOL "status = { method = \"GET\", url = \"http://{a}/\" }\n",
	 "t.toml:9:34: \"url\" is no usable URL: a {placeholder} cannot stand in the host or port; expected http:// "
	 "or https://, host and path\n"},
	{TOOL "status = { method = \"GET\", url = \"http://h/\", body = \"x\" }\n",
	 "t.toml:9:10: \"status\" is a GET with a body; expected no body, or another method\n"},
	{TOOL "status = { url = \"http://h/\" }\n",
	 "t.toml:9:10: \"status\" has no method; expected a table with method, url, headers and body\n"},
	{TOOL "status = { methd = \"GET\", url = \"http://h/\" }\n",
	 "t.toml:9:12: unknown key \"methd\" in \"status\"; did you mean \"method\"?\n"},
	{TOOL "status = { method = \"get\", url = \"http://h/\" }\n",
	 "t.toml:9:21: \"method\" is \"get\"; expected \"GET\", \"POST\", \"PUT\", \"PATCH\" or \"DELETE\"\n"},
	{TOOL
	 "status = { method = \"GET\", url = \"http://h/\", headers = { Authorization = \"Bearer hush\" } }\n",
	 "t.toml:9:75: header \"Authorization\" holds a secret in the clear; expected a reference: \"file:PATH\", "
	 "\"env:NAME\" or \"credential:NAME\" for the whole value\n"},
	{TOOL
	 "status = { method = \"GET\", url = \"http://h/\", headers = { Content-Length = \"1\" } }\n",
	 "t.toml:9:59: \"Content-Length\" is no header to set; expected a token that does not frame the message\n"},
	{TOOL "secret_arguments = [\"b\"]\n",
	 "t.toml:9:20: \"secret_arguments\" names \"b\"; expected a property of \"parameters\"\n"},
	{READER "withheld_arguments = [\"b\"]\n",
	 "t.toml:10:22: \"withheld_arguments\" names \"b\"; expected a property of \"parameters\"\n"},
	{TOOL "withheld_arguments = [\"a\"]\n",
	 "t.toml:9:22: \"withheld_arguments\" of a tool whose effect is not \"read\"; expected none, for an effect "
	 "is never sent in part\n"},
	{WITHHELD("http://h/{a}", "", ""), PLACED},
	{WITHHELD("http://h/?x={args.a}", "", ""), PLACED},
	{WITHHELD("http://h/?x={a.first[0]}", "", ""), PLACED},
	{WITHHELD("http://h/", "X-A = \"{a}\"", ""), PLACED},
	{WITHHELD("http://h/", "", ", body = '{\"x\": \"{a}\"}'"), PLACED},
	{TOOL "tags = [\"\"]\n",
	 "t.toml:9:9: an element of \"tags\" has 0 bytes; expected 1 to 256 bytes\n"},
	{TOOL "tags = [1]\n", "t.toml:9:9: \"tags\" is a whole number; expected a string\n"},
	{TOOL "tags = \"x\"\n", "t.toml:9:8: \"tags\" is a string; expected an array of strings\n"},
};

START_TEST(test_refused)
{
	const struct refusal *refusal = &refusals[_i];
	struct cfg *cfg = NULL;
	const char *text;

	ck_assert_int_eq(setenv("SHORT_KEY", "hush-hush-hush-hush-hush-hush-h", 1), 0); /* 31 */
	ck_assert_int_eq(cfg_load_text("t.toml", bc_span_str(refusal->text), &findings, &cfg),
			 BC_E_INVALID);
	ck_assert_ptr_null(cfg);
	text = found();
	ck_assert_msg(refusal->finding != NULL
			      ? strncmp(text, refusal->finding, strlen(refusal->finding)) == 0
			      : strncmp(text, "t.toml:1:", 9) == 0,
		      "got:  %swant: %s", text,
		      refusal->finding != NULL ? refusal->finding : "line 1");
	/* a full line that is expected is expected alone */
	if (refusal->finding != NULL && refusal->finding[strlen(refusal->finding) - 1] == '\n') {
		ck_assert_str_eq(text, refusal->finding);
	}
	ck_assert_ptr_null(strstr(text, "hush"));
}
END_TEST

/* A secret that was pasted where its reference belongs must not come out through the parser's own words. */
START_TEST(test_syntax_error_keeps_secrets)
{
	static const char *const secrets[] = {"hush-hush",
					      "true-hush",
					      "0x1hush",
					      "1hush",
					      "0b1hush",
					      "infhush",
					      "1e9hush",
					      "1979hush",
					      "'hush",
					      "\"hush",
					      "-hush",
					      "0hush",
					      "12:34:hush",
					      "nanhush",
					      "1.5hush",
					      "{hush",
					      "[hush",
					      "falsehush",
					      "99999999999999999999999999hush"};
	char text[128];
	struct cfg *cfg = NULL;

	for (size_t i = 0; i < BC_ARRAY_LEN(secrets); i++) {
		(void)snprintf(text, sizeof(text), "[[upstream]]\nkey = %s\n", secrets[i]);
		ck_assert_int_eq(cfg_load_text("t.toml", bc_span_str(text), &findings, &cfg),
				 BC_E_INVALID);
	}
	ck_assert_ptr_null(strstr(found(), "hush"));
}
END_TEST

START_TEST(test_defaults)
{
	struct cfg *cfg = load(FRONT OPEN);

	ck_assert_uint_eq(cfg->daemon.workers, 0);
	ck_assert_int_eq(cfg->daemon.log_level, CFG_LOG_LEVEL_INFO);
	ck_assert_int_eq(cfg->daemon.drain_timeout, 60 * BC_USEC_PER_SEC);
	ck_assert_uint_eq(cfg->listen_count, 1);
	ck_assert_str_eq(cfg->listen[0].address, "127.0.0.1");
	ck_assert_uint_eq(cfg->listen[0].port, 8443);
	ck_assert_ptr_null(cfg->listen[0].certificate);
	ck_assert(cfg->admin.enabled);
	ck_assert_str_eq(cfg->upstream[0].url, "wss://api.openai.com/v1/realtime");
	ck_assert_ptr_null(cfg->upstream[0].key.value);
	ck_assert_uint_eq(cfg->session.message_max, (size_t)16 << 20);
	ck_assert_int_eq(cfg->session.lifetime_max, 65 * 60 * BC_USEC_PER_SEC);
	ck_assert_int_eq(cfg->speculation.pause, 150 * BC_USEC_PER_MS);
	ck_assert_int_eq(cfg->speculation.mode, CFG_SPEC_MODE_CONFIRM);
	ck_assert_int_eq(cfg->journal.retention, 720 * 3600 * BC_USEC_PER_SEC);
	ck_assert_uint_eq(cfg->tool_count, 0);
	ck_assert_ptr_null(cfg_unref(cfg));
}
END_TEST

START_TEST(test_tool)
{
	struct cfg *cfg = load(
		FRONT OPEN "[[tool]]\n"
			   "name = \"cancel\"\n"
			   "description = \"Cancels.\"\n"
			   "effect = \"reversible\"\n"
			   "idempotency = \"key\"\n"
			   "fresh_for = \"0s\"\n"
			   "response_max = 100\n"
			   "secret_arguments = [\"pin\"]\n"
			   "[tool.parameters]\n"
			   "type = \"object\"\n"
			   "properties.order = { type = \"string\" }\n"
			   "properties.pin = { type = \"string\" }\n"
			   "[tool.request]\n"
			   "method = \"POST\"\n"
			   "url = \"https://shop.example:444/orders/{order}?x={args.pin}\"\n"
			   "body = '{\"all\": {*}, \"key\": \"{idempotency_key}\", \"n\": {}}'\n"
			   "headers.X-Order = \"{order}\"\n"
			   "[tool.undo]\n"
			   "method = \"DELETE\"\n"
			   "url = \"https://shop.example/x/{result.list[0].id}\"\n");
	const struct cfg_tool *tool = cfg_tool_find(cfg, BC_SPAN_LIT("cancel"));

	ck_assert_ptr_nonnull(tool);
	ck_assert_ptr_null(cfg_tool_find(cfg, BC_SPAN_LIT("cance")));
	ck_assert_int_eq(tool->effect, CFG_EFFECT_REVERSIBLE);
	ck_assert_int_eq(tool->disclosure, CFG_DISCLOSURE_THIRD_PARTY);
	ck_assert_int_eq(tool->fresh_for, 0);
	ck_assert_uint_eq(tool->response_max, 100);
	ck_assert_str_eq(tool->request.method, "POST");
	ck_assert_uint_eq(tool->request.header_count, 1);
	ck_assert_str_eq(tool->request.headers[0].name, "X-Order");
	ck_assert_ptr_null(tool->status.method);
	ck_assert_str_eq(tool->undo.method, "DELETE");
	ck_assert_ptr_null(tool->undo.body);
	ck_assert_uint_eq(tool->tags.count, 1);
	ck_assert_str_eq(tool->tags.items[0], "shop.example");
	ck_assert_str_eq(tool->secret_arguments.items[0], "pin");
	ck_assert_str_eq(json_string_value(json_object_get(tool->parameters, "type")), "object");
	cfg = cfg_unref(cfg);
}
END_TEST

START_TEST(test_withheld_arguments)
{
	/* Its neighbour may be placed, and {*} holds what is there. */
	struct cfg *cfg =
		load(WITHHELD("http://h/{ab}", "X-A = \"{ab}\"", ", body = '{\"all\": {*}}'"));

	ck_assert_uint_eq(cfg->tool[0].withheld_arguments.count, 1);
	ck_assert_str_eq(cfg->tool[0].withheld_arguments.items[0], "a");
	cfg = cfg_unref(cfg);
}
END_TEST

START_TEST(test_absent_tags_differ_from_none)
{
	struct cfg *cfg = load(TOOL "tags = []\n");

	ck_assert_uint_eq(cfg->tool[0].tags.count, 0);
	ck_assert_ptr_nonnull(cfg->tool[0].tags.items);
	cfg = cfg_unref(cfg);
}
END_TEST

static enum bc_err refuse_schema(const json_t *schema, struct bc_buf *message)
{
	ck_assert(json_is_object(schema));
	ck_assert_int_eq(bc_buf_put_str(message, "not this one"), BC_OK);
	return BC_E_INVALID;
}

static enum bc_err refuse_request(const struct cfg_request *request, const json_t *parameters,
				  bool has_result, struct bc_buf *message)
{
	ck_assert_str_eq(request->method, "POST");
	ck_assert(json_is_object(parameters));
	ck_assert(!has_result);
	ck_assert_int_eq(bc_buf_put_str(message, "nor this"), BC_OK);
	return BC_E_INVALID;
}

START_TEST(test_judges)
{
	struct cfg *cfg = NULL;

	cfg_schema_check_set(refuse_schema);
	ck_assert_int_eq(cfg_load_text("t.toml", bc_span_str(TOOL), &findings, &cfg), BC_E_INVALID);
	cfg_schema_check_set(NULL);
	cfg_request_check_set(refuse_request);
	ck_assert_int_eq(cfg_load_text("t.toml", bc_span_str(TOOL), &findings, &cfg), BC_E_INVALID);
	cfg_request_check_set(NULL);
	ck_assert_str_eq(
		found(),
		"t.toml:7:14: \"parameters\" cannot be used: not this one; see backchannel.toml(5)\n"
		"t.toml:8:11: \"request\" cannot be used: nor this; see backchannel.toml(5)\n");
}
END_TEST

START_TEST(test_findings_are_bounded)
{
	struct bc_buf text;
	struct cfg *cfg = NULL;
	size_t lines = 0;

	bc_buf_init(&text, (size_t)1 << 20);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(bc_buf_printf(&text, "x%d = 1\n", i), BC_OK);
	}
	ck_assert_int_eq(cfg_load_text("t.toml", bc_buf_span(&text), &findings, &cfg),
			 BC_E_INVALID);
	for (const char *at = found(); (at = strchr(at, '\n')) != NULL; at++) {
		lines++;
	}
	ck_assert_uint_eq(lines, CFG_FINDINGS_MAX);
	bc_buf_release(&text);
}
END_TEST

/* Depth that would exhaust the stack of a careless parser is a finding. */
START_TEST(test_nesting_is_bounded)
{
	static const char *const pieces[][2] = {
		{"a", ".a"}, {"[a", ".a"}, {"a = ", "["}, {"a = ", "{a="}, {"a=1", "]"}};
	struct bc_buf text;
	struct cfg *cfg = NULL;

	for (size_t i = 0; i < BC_ARRAY_LEN(pieces); i++) {
		bc_buf_init(&text, (size_t)2 << 20);
		ck_assert_int_eq(bc_buf_put_str(&text, pieces[i][0]), BC_OK);
		while (bc_buf_len(&text) < CFG_FILE_SIZE_MAX - 16) {
			ck_assert_int_eq(bc_buf_put_str(&text, pieces[i][1]), BC_OK);
		}
		ck_assert_int_eq(cfg_load_text("t.toml", bc_buf_span(&text), &findings, &cfg),
				 BC_E_INVALID);
		bc_buf_release(&text);
	}
	ck_assert_ptr_nonnull(strstr(
		found(), "t.toml:1:64: no TOML: a dotted key has too many parts; expected TOML"));
}
END_TEST

START_TEST(test_too_much)
{
	struct bc_buf text;
	struct cfg *cfg = NULL;

	bc_buf_init(&text, (size_t)2 << 20);
	ck_assert_int_eq(bc_buf_put_str(&text, OPEN), BC_OK);
	for (size_t i = 0; i <= CFG_INSTANCES_MAX; i++) {
		ck_assert_int_eq(bc_buf_printf(&text, "[[listen]]\nport = %zu\n", i + 1), BC_OK);
	}
	ck_assert_int_eq(bc_buf_put_str(&text, "[[upstream]]\n"), BC_OK);
	ck_assert_int_eq(cfg_load_text("t.toml", bc_buf_span(&text), &findings, &cfg),
			 BC_E_INVALID);
	ck_assert_str_eq(found(),
			 "t.toml:2050:1: one [[listen]] too many; expected at most 1024\n");
	while (bc_buf_len(&text) <= CFG_FILE_SIZE_MAX) {
		ck_assert_int_eq(bc_buf_put_str(&text, "# more than a file may hold\n"), BC_OK);
	}
	bc_buf_clear(&findings);
	ck_assert_int_eq(cfg_load_text("t.toml", bc_buf_span(&text), &findings, &cfg),
			 BC_E_INVALID);
	ck_assert_ptr_nonnull(strstr(found(), "bytes of text; expected at most 1048576"));
	bc_buf_release(&text);
}
END_TEST

START_TEST(test_references)
{
	struct cfg *cfg = load(FRONT OPEN);
	struct cfg *other = cfg_ref(cfg);

	ck_assert_ptr_eq(other, cfg);
	ck_assert_ptr_null(cfg_unref(cfg));
	/* still there for the second holder: sanitizers would tell */
	ck_assert_uint_eq(other->listen_count, 1);
	ck_assert_ptr_null(cfg_unref(other));
	ck_assert_ptr_null(cfg_unref(NULL));
}
END_TEST

START_TEST(test_client_keys)
{
	char key[CFG_KEY_SIZE], other[CFG_KEY_SIZE], hex[2 * BC_SHA256_SIZE + 1], text[512];
	struct bc_sha256 digest;
	struct cfg *cfg;
	static const char digits[] = "0123456789abcdef";

	cfg_client_key_new(other, &digest);
	cfg_client_key_new(key, &digest);
	ck_assert_str_ne(key, other);
	ck_assert_uint_eq(strlen(key), 47);
	ck_assert_int_eq(strncmp(key, "bck_", 4), 0);
	ck_assert_uint_eq(
		strspn(key + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
		43);
	for (size_t i = 0; i < BC_SHA256_SIZE; i++) {
		hex[2 * i] = digits[digest.bytes[i] >> 4];
		hex[2 * i + 1] = digits[digest.bytes[i] & 15];
	}
	hex[2 * BC_SHA256_SIZE] = '\0';
	(void)snprintf(
		text, sizeof(text),
		FRONT
		"[[client_key]]\nname = \"a\"\n"
		"sha256 = \"9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n"
		"[[client_key]]\nname = \"b\"\nsha256 = \"%s\"\nupstream = \"default\"\n",
		hex);
	cfg = load(text);
	ck_assert_str_eq(cfg_client_key_find(cfg, bc_span_str(key))->name, "b");
	ck_assert_str_eq(cfg_client_key_find(cfg, bc_span_str("test"))->name,
			 "a"); /* the digest of "test" */
	ck_assert_ptr_null(cfg_client_key_find(cfg, bc_span_str(other)));
	ck_assert_ptr_null(cfg_client_key_find(cfg, bc_span_str("")));
	cfg = cfg_unref(cfg);
}
END_TEST

START_TEST(test_upstreams)
{
	struct cfg *cfg = load(
		"listen=[{}]\nupstream=[{name=\"x\"},{name=\"y\",url=\"ws://[::1]:99/a?b=c\"}]\n" OPEN);

	ck_assert_str_eq(cfg_upstream_find(cfg, NULL)->name, "x");
	ck_assert_str_eq(cfg_upstream_find(cfg, "y")->url, "ws://[::1]:99/a?b=c");
	ck_assert_ptr_null(cfg_upstream_find(cfg, "z"));
	cfg = cfg_unref(cfg);
}
END_TEST

START_TEST(test_units)
{
	bc_usec duration = -1;
	size_t size = 1;
	uint64_t count = 1;
	char text[CFG_UNIT_SIZE];

	ck_assert(cfg_parse_duration(BC_SPAN_LIT("500ms"), &duration) && duration == 500000);
	ck_assert(cfg_parse_duration(BC_SPAN_LIT("10s"), &duration) && duration == 10000000);
	ck_assert(cfg_parse_duration(BC_SPAN_LIT("5m"), &duration) && duration == 300000000);
	ck_assert(cfg_parse_duration(BC_SPAN_LIT("168h"), &duration) && duration == 604800000000);
	ck_assert(cfg_parse_duration(BC_SPAN_LIT("0s"), &duration) && duration == 0);
	ck_assert(!cfg_parse_duration(BC_SPAN_LIT("10"), &duration));
	ck_assert(!cfg_parse_duration(BC_SPAN_LIT("s"), &duration));
	ck_assert(!cfg_parse_duration(BC_SPAN_LIT("-1s"), &duration));
	ck_assert(!cfg_parse_duration(BC_SPAN_LIT("1.5s"), &duration));
	ck_assert(!cfg_parse_duration(BC_SPAN_LIT("1S"), &duration));
	ck_assert(!cfg_parse_duration(BC_SPAN_LIT("2562047789h"),
				      &duration)); /* just beyond 2^63 us */
	ck_assert(cfg_parse_duration(BC_SPAN_LIT("2562047788h"), &duration));
	ck_assert(cfg_parse_size(BC_SPAN_LIT("64KiB"), &size) && size == 65536);
	ck_assert(cfg_parse_size(BC_SPAN_LIT("16MiB"), &size) && size == (size_t)16 << 20);
	ck_assert(cfg_parse_size(BC_SPAN_LIT("7"), &size) && size == 7);
	ck_assert(cfg_parse_size(BC_SPAN_LIT("7B"), &size) && size == 7);
	ck_assert(!cfg_parse_size(BC_SPAN_LIT("7KB"), &size));
	ck_assert(!cfg_parse_size(BC_SPAN_LIT(""), &size));
	ck_assert(!cfg_parse_size(BC_SPAN_LIT("99999999999GiB"), &size));
	ck_assert(cfg_parse_count(BC_SPAN_LIT("18446744073709551615"), &count) &&
		  count == UINT64_MAX);
	ck_assert(!cfg_parse_count(BC_SPAN_LIT("18446744073709551616"), &count));
	cfg_format_duration(text, 90 * BC_USEC_PER_SEC);
	ck_assert_str_eq(text, "90s");
	cfg_format_duration(text, 0);
	ck_assert_str_eq(text, "0s");
	cfg_format_duration(text, 7200 * BC_USEC_PER_SEC);
	ck_assert_str_eq(text, "2h");
	cfg_format_size(text, (size_t)3 << 20);
	ck_assert_str_eq(text, "3MiB");
	cfg_format_size(text, 1025);
	ck_assert_str_eq(text, "1025B");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tcase = tcase_create("text");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_refused, 0, (int)BC_ARRAY_LEN(refusals));
	tcase_add_test(tcase, test_syntax_error_keeps_secrets);
	tcase_add_test(tcase, test_defaults);
	tcase_add_test(tcase, test_tool);
	tcase_add_test(tcase, test_withheld_arguments);
	tcase_add_test(tcase, test_absent_tags_differ_from_none);
	tcase_add_test(tcase, test_judges);
	tcase_add_test(tcase, test_findings_are_bounded);
	tcase_add_test(tcase, test_nesting_is_bounded);
	tcase_add_test(tcase, test_too_much);
	tcase_add_test(tcase, test_references);
	tcase_add_test(tcase, test_client_keys);
	tcase_add_test(tcase, test_upstreams);
	tcase_add_test(tcase, test_units);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
