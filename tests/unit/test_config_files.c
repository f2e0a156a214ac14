/* The configuration as files: includes, paths, and secrets that stand elsewhere. */
#include "daemon/config/load.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAIN "[[listen]]\n[[upstream]]\n[auth]\nmode = \"open\"\n"

static struct bc_buf findings;
static char home[64]; /* a new directory, with real path, that each test works in */

static void setup(void)
{
	char *real;

	bc_buf_init(&findings, (size_t)64 * 1024);
	(void)snprintf(home, sizeof(home), "/tmp/backchannel-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(home));
	real = realpath(home, NULL);
	ck_assert_ptr_nonnull(real);
	(void)snprintf(home, sizeof(home), "%s", real);
	free(real);
	ck_assert_int_eq(chdir(home), 0);
	ck_assert_int_eq(mkdir("d", 0700), 0);
}

static void teardown(void)
{
	char command[128];

	bc_buf_release(&findings);
	ck_assert_int_eq(chdir("/"), 0);
	(void)snprintf(command, sizeof(command), "rm -r %s", home);
	ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *name, const char *content)
{
	FILE *file = fopen(name, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(content, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static const char *found(void)
{
	ck_assert_int_eq(bc_buf_put(&findings, "", 1), BC_OK);
	return bc_buf_span(&findings).ptr;
}

static struct cfg *load(const char *path)
{
	struct cfg *cfg = NULL;
	enum bc_err err = cfg_load(path, &findings, &cfg);

	ck_assert_msg(err == BC_OK, "%s: %s", bc_err_text(err), found());
	return cfg;
}

static void refused(const char *path, const char *wanted)
{
	struct cfg *cfg = NULL;

	ck_assert_int_eq(cfg_load(path, &findings, &cfg), BC_E_INVALID);
	ck_assert_ptr_null(cfg);
	ck_assert_str_eq(found(), wanted);
	bc_buf_clear(&findings);
}

START_TEST(test_includes_in_order)
{
	struct cfg *cfg;

	write_file("main.toml", "include = [\"z.toml\", \"d/*.toml\"]\n" MAIN);
	write_file("z.toml", "include = [\"d/deep/x.toml\"]\n[[upstream]]\nname = \"z\"\n");
	ck_assert_int_eq(mkdir("d/deep", 0700), 0);
	write_file("d/deep/x.toml",
		   "[[upstream]]\nname = \"x\"\n[session]\nidle_timeout = \"7s\"\n");
	write_file("d/b.toml", "[[upstream]]\nname = \"b\"\n");
	write_file("d/a.toml", "[[upstream]]\nname = \"a\"\n");
	write_file("d/c.txt", "this is not for us");
	cfg = load("main.toml");
	ck_assert_uint_eq(cfg->upstream_count, 5);
	ck_assert_str_eq(cfg->upstream[0].name, "default");
	ck_assert_str_eq(cfg->upstream[1].name, "z");
	ck_assert_str_eq(cfg->upstream[2].name, "a");
	ck_assert_str_eq(cfg->upstream[3].name, "b");
	ck_assert_str_eq(cfg->upstream[4].name, "x");
	ck_assert_int_eq(cfg->session.idle_timeout, 7 * BC_USEC_PER_SEC);
	cfg = cfg_unref(cfg);
	/* from elsewhere: relative to the file, not to where we are */
	ck_assert_int_eq(chdir("d"), 0);
	cfg = load("../main.toml");
	ck_assert_uint_eq(cfg->upstream_count, 5);
	cfg = cfg_unref(cfg);
}
END_TEST

START_TEST(test_findings_name_the_included_file)
{
	write_file("main.toml", "include = [\"d/*.toml\"]\n" MAIN "[admin]\n");
	write_file("d/a.toml", "\n[admin]\n[session]\nidle = 1\n");
	refused("main.toml",
		"d/a.toml:2:1: [admin] is given twice; expected only the one at main.toml:6\n"
		"d/a.toml:4:1: unknown key \"idle\" in [session]; see backchannel.toml(5)\n");
}
END_TEST

START_TEST(test_bad_includes)
{
	write_file("main.toml", "include = [\"none.toml\", \"none*.toml\"]\n" MAIN);
	refused("main.toml",
		"main.toml:1:12: the file none.toml is named, which does not exist; expected one of at "
		"most 64 TOML files\n");
	write_file("main.toml", "include = [\"*.toml\"]\n" MAIN);
	refused("main.toml",
		"main.toml:1:12: the file main.toml is named, which is part of the configuration already; "
		"expected one of at most 64 TOML files\n");
	write_file("main.toml", "include = [\"d\"]\n" MAIN);
	refused("main.toml",
		"main.toml:1:12: the file d is named, which is no regular file; expected one of at most "
		"64 TOML files\n");
	write_file("main.toml", "include = \"d\"\n" MAIN);
	refused("main.toml",
		"main.toml:1:11: \"include\" is a string; expected an array of paths\n");
	refused("nothing.toml",
		"nothing.toml:1:1: the file nothing.toml is named, which does not exist; expected one "
		"of at most 64 TOML files\n");
	write_file("main.toml", "include = [\"d/bad.toml\"]\n");
	write_file("d/bad.toml", "= 1\n");
	refused("main.toml",
		"d/bad.toml:1:1: no TOML: Error while parsing root table: expected keys, tables, "
		"whitespace or comments; expected TOML 1.0\n");
}
END_TEST

START_TEST(test_too_many_files)
{
	char name[32];
	struct cfg *cfg = NULL;

	write_file("main.toml", "include = [\"d/*.toml\"]\n" MAIN);
	for (size_t i = 0; i < CFG_FILES_MAX; i++) {
		(void)snprintf(name, sizeof(name), "d/%02zu.toml", i);
		write_file(name, "");
	}
	ck_assert_int_eq(cfg_load("main.toml", &findings, &cfg), BC_E_INVALID);
	ck_assert_str_eq(
		found(),
		"main.toml:1:12: the file d/63.toml is named, which is one too many; expected one of "
		"at most 64 TOML files\n");
}
END_TEST

START_TEST(test_too_long_a_file)
{
	FILE *file = fopen("main.toml", "we");

	ck_assert_ptr_nonnull(file);
	for (size_t i = 0; i <= CFG_FILE_SIZE_MAX; i++) {
		ck_assert_int_ge(fputc(i % 64 == 0 ? '\n' : '#', file), 0);
	}
	ck_assert_int_eq(fclose(file), 0);
	refused("main.toml",
		"main.toml:1:1: this is a file which is too long; expected TOML of at most 1048576 bytes\n");
}
END_TEST

START_TEST(test_paths_are_relative_to_their_file)
{
	char wanted[128];
	struct cfg *cfg;

	write_file("main.toml",
		   "include = [\"d/tls.toml\"]\n[[upstream]]\nca_file = \"ca.pem\"\n[auth]\n"
		   "mode = \"open\"\n[journal]\npath = \"/abs/j.db\"\n");
	write_file("d/tls.toml", "[[listen]]\ncertificate = \"c.pem\"\nkey = \"../k.pem\"\n");
	write_file("ca.pem", "");
	write_file("d/c.pem", "");
	write_file("k.pem", "");
	cfg = load("main.toml");
	(void)snprintf(wanted, sizeof(wanted), "%s/d/c.pem", home);
	ck_assert_str_eq(cfg->listen[0].certificate, wanted);
	(void)snprintf(wanted, sizeof(wanted), "%s/d/../k.pem", home);
	ck_assert_str_eq(cfg->listen[0].key, wanted);
	(void)snprintf(wanted, sizeof(wanted), "%s/ca.pem", home);
	ck_assert_str_eq(cfg->upstream[0].ca_file, wanted);
	ck_assert_str_eq(cfg->journal.path, "/abs/j.db");
	cfg = cfg_unref(cfg);
}
END_TEST

#define UPSTREAM_KEY "[[listen]]\n[auth]\nmode = \"open\"\n[[upstream]]\nkey = "

START_TEST(test_secrets)
{
	char wanted[128];
	struct bc_buf printed;
	struct cfg *cfg;

	write_file("main.toml", UPSTREAM_KEY "\"file:d/key\"\n");
	write_file("d/key", "hush\n");
	cfg = load("main.toml");
	ck_assert_str_eq(cfg->upstream[0].key.value, "hush");
	(void)snprintf(wanted, sizeof(wanted), "file:%s/d/key", home);
	ck_assert_str_eq(cfg->upstream[0].key.reference, wanted);
	bc_buf_init(&printed, (size_t)64 * 1024);
	ck_assert_int_eq(cfg_print(cfg, &printed), BC_OK);
	ck_assert_int_eq(bc_buf_put(&printed, "", 1), BC_OK);
	ck_assert_ptr_null(strstr(printed.mem, "hush"));
	ck_assert_ptr_nonnull(strstr(printed.mem, wanted));
	bc_buf_release(&printed);
	cfg = cfg_unref(cfg);

	ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", home, 1), 0);
	write_file("main.toml", UPSTREAM_KEY "\"credential:key\"\n");
	write_file("key", "hush\r\n");
	cfg = load("main.toml");
	ck_assert_str_eq(cfg->upstream[0].key.value, "hush");
	ck_assert_str_eq(cfg->upstream[0].key.reference, "credential:key");
	cfg = cfg_unref(cfg);
	ck_assert_int_eq(unsetenv("CREDENTIALS_DIRECTORY"), 0);
	refused("main.toml",
		"main.toml:5:7: \"key\" names credential:key, but $CREDENTIALS_DIRECTORY is not set; "
		"systemd sets it for units with LoadCredential=\n");
}
END_TEST

START_TEST(test_bad_secrets)
{
	write_file("main.toml", UPSTREAM_KEY "\"file:key\"\n");
	write_file("key", "hush\nhush\n");
	refused("main.toml",
		"main.toml:5:7: \"key\" names file:key, which holds a control character; expected one "
		"line of text\n");
	write_file("key", "\n");
	refused("main.toml",
		"main.toml:5:7: \"key\" names file:key, which is empty; put the secret there\n");
	ck_assert_int_eq(unlink("key"), 0);
	ck_assert_int_eq(mkfifo("key", 0600), 0);
	refused("main.toml",
		"main.toml:5:7: \"key\" names file:key, which is no regular file; expected a readable "
		"file with the secret\n");
	ck_assert_int_eq(setenv("BACKCHANNEL_TEST_SECRET", "{hush}", 1), 0);
	write_file(
		"main.toml", MAIN
		"[[tool]]\nname = \"t\"\ndescription = \"d\"\nparameters = { type = \"object\" }\n"
		"request = { method = \"GET\", url = \"http://h/\", headers = { X = "
		"\"env:BACKCHANNEL_TEST_SECRET\" } }\n");
	refused("main.toml",
		"main.toml:9:64: the secret of header \"X\" looks like a template; expected none of "
		"{name}\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config_files");
	TCase *tcase = tcase_create("files");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_includes_in_order);
	tcase_add_test(tcase, test_findings_name_the_included_file);
	tcase_add_test(tcase, test_bad_includes);
	tcase_add_test(tcase, test_too_many_files);
	tcase_add_test(tcase, test_too_long_a_file);
	tcase_add_test(tcase, test_paths_are_relative_to_their_file);
	tcase_add_test(tcase, test_secrets);
	tcase_add_test(tcase, test_bad_secrets);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
