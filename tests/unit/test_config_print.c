/* What the configuration prints: itself, the sample and the manual, all in agreement with conf/options.def. */
#include "daemon/config/load.h"
#include "daemon/config/schema.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_SIZE   ((size_t)1 << 20)
#define LONG_SECRET "Bearer hush, and again hush, hush"

static struct bc_buf findings, text;

static void setup(void)
{
	bc_buf_init(&findings, TEXT_SIZE);
	bc_buf_init(&text, TEXT_SIZE);
}

static void teardown(void)
{
	bc_buf_release(&findings);
	bc_buf_release(&text);
}

static const char *terminated(struct bc_buf *buf)
{
	ck_assert_int_eq(bc_buf_put(buf, "", 1), BC_OK);
	return bc_buf_span(buf).ptr;
}

static struct cfg *load(struct bc_span from)
{
	struct cfg *cfg = NULL;
	enum bc_err err = cfg_load_text("t.toml", from, &findings, &cfg);

	ck_assert_msg(err == BC_OK, "%s: %s", bc_err_text(err), terminated(&findings));
	return cfg;
}

/* A file of that name and content in the working directory. */
static void write_file(const char *name, struct bc_span content)
{
	FILE *file = fopen(name, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(content.ptr, 1, content.len, file), content.len);
	ck_assert_int_eq(fclose(file), 0);
}

/* Work in a new directory, in which everything that the sample's examples name can be read. */
static void enter_sample_world(void)
{
	static const char *const files[] = {"fullchain.pem",  "privkey.pem", "provider-ca.pem",
					    "tools-ca.pem",   "shop",        "journal",
					    "reasoner-ca.pem"};
	char dir[] = "/tmp/backchannel-test-XXXXXX";
	char *cwd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
	for (size_t i = 0; i < BC_ARRAY_LEN(files); i++) {
		write_file(files[i], BC_SPAN_LIT(LONG_SECRET "\n"));
	}
	ck_assert_int_eq(mkdir("tools.d", 0700), 0);
	cwd = getcwd(NULL, 0);
	ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", cwd, 1), 0);
	ck_assert_int_eq(setenv("OPENAI_API_KEY", "hush", 1), 0);
	free(cwd);
}

static void leave_sample_world(void)
{
	static const char *const names[] = {"fullchain.pem", "privkey.pem", "provider-ca.pem",
					    "tools-ca.pem",  "shop",        "journal",
					    "t.toml",        "tools.d",     "reasoner-ca.pem"};
	char *cwd = getcwd(NULL, 0);

	for (size_t i = 0; i < BC_ARRAY_LEN(names); i++) {
		(void)remove(names[i]);
	}
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(cwd), 0);
	free(cwd);
}

/* Everything that can be set, with values that need every kind of quoting. */
static const char full[] =
	"[daemon]\nlog_level = \"debug\"\nworkers = 3\n"
	"[[listen]]\nport = 1\n[[listen]]\nport = 2\naddress = \"::1\"\n"
	"[[client_key]]\nname = \"it's \\\"quoted\\\" \\\\ back\"\n"
	"sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n"
	"[[upstream]]\nkey = \"env:BACKCHANNEL_TEST_SECRET\"\nkey_header = \"api-key\"\n"
	"[session]\nping_interval = \"1500ms\"\nmessage_max = 100000\n"
	"[[tool]]\nname = \"t\"\ndescription = \"line\\nwith 'both' \\\"quotes\\\" \\t and \\u00e9\"\n"
	"parameters = { type = \"object\", properties = { b = { default = 1.5 }, a = { enum = [true, \"x\"] } } }\n"
	"request = { method = \"POST\", url = \"http://h/{a}\", body = \"'{\\\"b\\\": {b}}'\", headers = { \"X-A\" = "
	"\"{a}\", Authorization = \"env:BACKCHANNEL_TEST_SECRET\" } }\n"
	"undo = { method = \"DELETE\", url = \"http://h/{a}\" }\n"
	"tags = []\nsecret_arguments = [\"a\", \"b\"]\n";

START_TEST(test_printed_configuration_loads_again)
{
	struct bc_buf again;
	struct cfg *cfg, *reloaded;
	const char *printed;

	ck_assert_int_eq(setenv("BACKCHANNEL_TEST_SECRET", "hush-hush", 1), 0);
	bc_buf_init(&again, TEXT_SIZE);
	cfg = load(bc_span_str(full));
	ck_assert_str_eq(cfg->upstream[0].key.value, "hush-hush");
	ck_assert_str_eq(cfg->tool[0].request.headers[1].value, "hush-hush");
	ck_assert_int_eq(cfg_print(cfg, &text), BC_OK);
	printed = terminated(&text);
	ck_assert_ptr_null(strstr(printed, "hush"));
	ck_assert_ptr_nonnull(strstr(printed, "key = \"env:BACKCHANNEL_TEST_SECRET\"\n"));
	ck_assert_ptr_nonnull(strstr(printed, "ping_interval = \"1500ms\"\n"));
	ck_assert_ptr_nonnull(strstr(printed, "message_max = \"100000B\"\n"));
	ck_assert_ptr_nonnull(strstr(printed, "drain_timeout = \"1m\"\n"));
	ck_assert_ptr_nonnull(strstr(printed, "tags = []\n"));
	ck_assert_ptr_null(strstr(printed, "\nstatus = "));

	reloaded = load(bc_span_str(printed));
	ck_assert(json_equal(reloaded->tool[0].parameters, cfg->tool[0].parameters));
	ck_assert_str_eq(reloaded->tool[0].description, cfg->tool[0].description);
	ck_assert_str_eq(reloaded->tool[0].request.body, cfg->tool[0].request.body);
	ck_assert_str_eq(reloaded->tool[0].request.headers[1].value, "hush-hush");
	ck_assert_str_eq(reloaded->client_key[0].name, cfg->client_key[0].name);
	ck_assert_uint_eq(reloaded->listen_count, 2);
	bc_buf_clear(&again);
	ck_assert_int_eq(cfg_print(reloaded, &again), BC_OK);
	ck_assert_str_eq(terminated(&again), printed);
	bc_buf_release(&again);
	cfg = cfg_unref(cfg);
	reloaded = cfg_unref(reloaded);
}
END_TEST

struct change {
	const char *text; /* against a listener on port 1 and defaults */
	const char *named;
};

static const struct change changes[] = {
	{"listen=[{port=1}]\nupstream=[{}]\nauth={mode=\"open\"}\n", ""},
	{"listen=[{port=1}]\nupstream=[{},{name=\"x\"}]\nauth={mode=\"open\"}\n[session]\nidle_timeout=\"9s\"\n",
	 ""},
	{"listen=[{port=2}]\nupstream=[{}]\nauth={mode=\"open\"}\n", "listen"},
	{"listen=[{port=1},{port=2}]\nupstream=[{}]\nauth={mode=\"open\"}\n", "listen"},
	{"listen=[{port=1}]\nupstream=[{}]\nauth={mode=\"open\"}\ndaemon={workers=3}\nadmin={port=5,enabled=false}\n"
	 "journal={path=\"x\",open_max=17}\n",
	 "daemon.workers, admin.enabled, admin.port, journal.path"},
};

START_TEST(test_restart_needed)
{
	struct cfg *running = load(bc_span_str(changes[0].text));
	struct cfg *loaded = load(bc_span_str(changes[_i].text));

	ck_assert_int_eq(cfg_restart_needed(running, loaded, &text), BC_OK);
	ck_assert_str_eq(terminated(&text), changes[_i].named);
	running = cfg_unref(running);
	loaded = cfg_unref(loaded);
}
END_TEST

START_TEST(test_print_reports_a_full_buffer)
{
	struct cfg *cfg = load(BC_SPAN_LIT("listen=[{}]\nupstream=[{}]\nauth={mode=\"open\"}\n"));
	struct bc_buf small;

	bc_buf_init(&small, 100);
	ck_assert_int_eq(cfg_print(cfg, &small), BC_E_LIMIT);
	bc_buf_clear(&small);
	ck_assert_int_eq(cfg_print_sample(&small), BC_E_LIMIT);
	bc_buf_clear(&small);
	ck_assert_int_eq(cfg_print_manual(&small), BC_E_LIMIT);
	bc_buf_release(&small);
	cfg = cfg_unref(cfg);
}
END_TEST

static void put_line(struct bc_buf *out, const char *line, size_t len)
{
	ck_assert_int_eq(bc_buf_put(out, line, len), BC_OK);
	ck_assert_int_eq(bc_buf_put_str(out, "\n"), BC_OK);
}

/* Remove the # in front of every line that is not prose. */
static void uncomment(const char *sample, struct bc_buf *out)
{
	while (*sample != '\0') {
		size_t len = strcspn(sample, "\n");
		size_t skip = len > 1 && sample[0] == '#' && sample[1] != ' ' ? 1 : 0;

		put_line(out, sample + skip, len - skip);
		sample += len + 1;
	}
}

START_TEST(test_sample_loads_with_every_line_in_force)
{
	struct bc_buf all;
	struct cfg *cfg = NULL;
	enum bc_err err;

	bc_buf_init(&all, TEXT_SIZE);
	enter_sample_world();
	ck_assert_int_eq(cfg_print_sample(&text), BC_OK);
	uncomment(terminated(&text), &all);
	write_file("t.toml", bc_buf_span(&all));
	err = cfg_load("t.toml", &findings, &cfg);
	ck_assert_msg(err == BC_OK, "%s", terminated(&findings));
	ck_assert_str_eq(cfg->tool[0].request.headers[0].value, LONG_SECRET);
	ck_assert_ptr_nonnull(strstr(cfg->listen[0].certificate, "/fullchain.pem"));
	ck_assert_int_eq(cfg->listen[0].certificate[0], '/');
	cfg = cfg_unref(cfg);
	leave_sample_world();
	bc_buf_release(&all);
}
END_TEST

/* Where in the sample an option's line is; behind its section's header and before the next one. */
static const char *sample_line(const char *sample, const struct cfg_section *section,
			       const char *key)
{
	char header[80], line[80];
	const char *at, *end, *other;

	(void)snprintf(header, sizeof(header), "%s%s%s\n", CFG_SECTION_ARG(section));
	at = strstr(sample, header);
	ck_assert_msg(at != NULL && (at[-1] == '\n' || at[-1] == '#'), "no %s", header);
	at += strlen(header);
	end = strstr(at, "\n[");
	other = strstr(at, "\n#[");
	end = end == NULL || (other != NULL && other < end) ? other : end;
	(void)snprintf(line, sizeof(line), "%s = ", key);
	do {
		at = strstr(at, line);
		ck_assert_msg(at != NULL && (end == NULL || at < end), "no %s in [%s]", key,
			      section->name);
		at++;
	} while (at[-2] != '\n' && (at[-2] != '#' || at[-3] != '\n'));
	return at - 1 + strlen(line);
}

START_TEST(test_sample_has_every_option_with_its_default)
{
	const char *sample;

	ck_assert_int_eq(cfg_print_sample(&text), BC_OK);
	sample = terminated(&text);
	for (size_t i = 0; i < cfg_section_count; i++) {
		const struct cfg_section *section = &cfg_sections[i];

		for (size_t row = section->first; row < section->first + section->count; row++) {
			const struct cfg_option *option = &cfg_options[row];
			const char *value = sample_line(sample, section, option->key);
			char quoted[128];

			if (option->def == NULL || option->def == cfg_needed ||
			    strcmp(option->section, "auth") == 0) {
				continue;
			}
			(void)snprintf(quoted, sizeof(quoted),
				       value[0] == '"' ? "\"%s\"\n" : "%s\n", option->def);
			ck_assert_msg(strncmp(value, quoted, strlen(quoted)) == 0, "%s.%s",
				      section->name, option->key);
		}
	}
}
END_TEST

/* The shipped file, as the sample's active lines, gives every option its default but for those it sets. */
START_TEST(test_shipped_file)
{
	char path[4096];
	struct bc_buf shipped, plain, printed;
	struct cfg *cfg = NULL, *defaults;
	enum bc_err err;
	FILE *file;
	char *room;
	size_t len;

	bc_buf_init(&shipped, TEXT_SIZE);
	bc_buf_init(&plain, TEXT_SIZE);
	bc_buf_init(&printed, TEXT_SIZE);
	ck_assert_int_eq(setenv("OPENAI_API_KEY", "hush", 1), 0);
	(void)snprintf(path, sizeof(path), "%s/conf/backchannel.toml", SOURCE_ROOT);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(bc_buf_room(&shipped, TEXT_SIZE / 2, &room), BC_OK);
	len = fread(room, 1, TEXT_SIZE / 2, file);
	ck_assert_int_eq(fclose(file), 0);
	bc_buf_grow(&shipped, len);
	ck_assert_int_eq(cfg_print_sample(&text), BC_OK);
	ck_assert_msg(bc_span_eq(bc_buf_span(&shipped), bc_buf_span(&text)),
		      "conf/backchannel.toml is out of date: write it with cfgdoc sample");

	err = cfg_load(path, &findings, &cfg);
	ck_assert_msg(err == BC_OK, "%s", terminated(&findings));
	ck_assert_str_eq(cfg->upstream[0].key.value, "hush");
	ck_assert_str_eq(cfg->listen[0].address, "127.0.0.1");
	defaults = load(BC_SPAN_LIT(
		"[[listen]]\n[[upstream]]\nkey = \"env:OPENAI_API_KEY\"\n[auth]\nmode = \"open\"\n"));
	ck_assert_int_eq(cfg_print(cfg, &plain), BC_OK);
	ck_assert_int_eq(cfg_print(defaults, &printed), BC_OK);
	ck_assert_str_eq(terminated(&plain), terminated(&printed));
	bc_buf_release(&shipped);
	bc_buf_release(&plain);
	bc_buf_release(&printed);
	cfg = cfg_unref(cfg);
	defaults = cfg_unref(defaults);
}
END_TEST

START_TEST(test_manual_has_every_option)
{
	const char *manual, *at;

	ck_assert_int_eq(cfg_print_manual(&text), BC_OK);
	manual = terminated(&text);
	at = manual;
	for (size_t i = 0; i < cfg_section_count; i++) {
		const struct cfg_section *section = &cfg_sections[i];
		char wanted[160];

		(void)snprintf(wanted, sizeof(wanted), "## %s%s%s\n", CFG_SECTION_ARG(section));
		at = strstr(at, wanted);
		ck_assert_msg(at != NULL, "no %s", wanted);
		for (size_t row = section->first; row < section->first + section->count; row++) {
			size_t len = (size_t)snprintf(wanted, sizeof(wanted), "\n*");

			for (const char *c = cfg_options[row].key; *c != '\0'; c++) {
				len += (size_t)snprintf(wanted + len, sizeof(wanted) - len,
							*c == '_' ? "\\%c" : "%c", *c);
			}
			(void)snprintf(wanted + len, sizeof(wanted) - len, "*: ");
			at = strstr(at, wanted);
			ck_assert_msg(at != NULL, "no %s in [%s]", wanted, section->name);
		}
	}
	ck_assert_ptr_nonnull(strstr(
		manual, "*connect\\_timeout*: a duration such as \"500ms\", \"10s\", \"5m\" or "
			"\"1h\", 100ms to 5m; default \"10s\"\n\tFrom the first"));
}
END_TEST

/* Bounds and defaults of the table itself: each can be read, and no default lies outside of its row's bounds. */
START_TEST(test_rows_are_sound)
{
	for (size_t i = 0; i < cfg_option_count; i++) {
		const struct cfg_option *option = &cfg_options[i];

		ck_assert_msg(option->help[0] != '\0' &&
				      option->help[strlen(option->help) - 1] == '.',
			      "%s.%s", option->section, option->key);
		ck_assert_ptr_eq(cfg_option_find(cfg_section_find(option->section), option->key),
				 option);
	}
	ck_assert_ptr_null(cfg_section_find("nothing"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config_print");
	TCase *tcase = tcase_create("print");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_printed_configuration_loads_again);
	tcase_add_loop_test(tcase, test_restart_needed, 0, (int)BC_ARRAY_LEN(changes));
	tcase_add_test(tcase, test_print_reports_a_full_buffer);
	tcase_add_test(tcase, test_sample_loads_with_every_line_in_force);
	tcase_add_test(tcase, test_sample_has_every_option_with_its_default);
	tcase_add_test(tcase, test_shipped_file);
	tcase_add_test(tcase, test_manual_has_every_option);
	tcase_add_test(tcase, test_rows_are_sound);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
