/* Recordings on disk: whole, bounded, private, and never in the way. */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/recorder.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUEUE_MAX ((size_t)1 << 20)

static char folder[64];
static struct cfg *cfg;
static struct recorder *recorder;

static struct cfg *load(const char *extra)
{
	char path[128];
	char text[1024];
	struct bc_buf findings;
	struct cfg *loaded = NULL;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/test.toml", folder);
	(void)snprintf(text, sizeof(text),
		       "[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\n"
		       "url = \"ws://localhost:1/v1/realtime\"\n[session]\n%s\n",
		       extra);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
	bc_buf_init(&findings, 65536);
	if (cfg_load(path, &findings, &loaded) != BC_OK) {
		ck_abort_msg("%.*s", BC_SPAN_ARG(bc_buf_span(&findings)));
	}
	bc_buf_release(&findings);
	return loaded;
}

static void setup(void)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/recorder_XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	cfg = load("record = \".\"\nrecord_max = \"64KiB\"");
	recorder = recorder_new(QUEUE_MAX);
	ck_assert_ptr_nonnull(recorder);
}

static void teardown(void)
{
	char command[128];

	recorder = recorder_free(recorder);
	cfg = cfg_unref(cfg);
	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	ck_assert_int_eq(system(command), 0);
}

/* What the recording of a session holds once everything is written; static storage. */
static const char *written(const char *session)
{
	static char text[1 << 20];
	char path[128];
	size_t len;
	FILE *file;

	recorder = recorder_free(recorder);
	(void)snprintf(path, sizeof(path), "%s/%s.jsonl", folder, session);
	file = fopen(path, "r");
	if (file == NULL) {
		return NULL;
	}
	len = fread(text, 1, sizeof(text) - 1, file);
	text[len] = '\0';
	ck_assert_int_eq(fclose(file), 0);
	return text;
}

static bool ends_with(const char *text, const char *ending)
{
	return strlen(text) >= strlen(ending) &&
	       strcmp(text + strlen(text) - strlen(ending), ending) == 0;
}

START_TEST(every_line_is_written_in_order)
{
	struct recording *recording = recording_begin(recorder, cfg, "s1", 1234);
	char expected[4096] = "";
	const char *text;
	struct stat info;
	char path[128];

	for (int i = 0; i < 100; i++) {
		char line[16];
		int len = snprintf(line, sizeof(line), "{\"n\":%d}\n", i);

		recording_line(recording, bc_span(line, (size_t)len));
		strncat(expected, line, sizeof(expected) - strlen(expected) - 1);
	}
	strncat(expected, "{\"end\":\"session\"}\n", sizeof(expected) - strlen(expected) - 1);
	recording_end(recording);
	text = written("s1");
	ck_assert_ptr_nonnull(text);
	ck_assert_ptr_eq(strstr(text, "{\"recording\":1,\"session\":\"s1\",\"config\":\""), text);
	ck_assert_ptr_nonnull(strstr(text, "\"wall\":1234}\n"));
	ck_assert_str_eq(strchr(text, '\n') + 1, expected);
	(void)snprintf(path, sizeof(path), "%s/s1.jsonl", folder);
	ck_assert_int_eq(stat(path, &info), 0);
	ck_assert_uint_eq(info.st_mode & 0777, 0600);
}
END_TEST

START_TEST(a_full_queue_ends_the_recording_and_says_so)
{
	int64_t cut = bc_metric_get(BC_M_RECORDINGS_CUT);
	struct recording *recording;
	const char *text;

	recorder_free(recorder);
	recorder = recorder_new(8); /* a line of nine bytes is too much */
	recording = recording_begin(recorder, cfg, "s1", 0);
	recording_line(recording, BC_SPAN_LIT("{\"n\":12}\n"));
	recording_line(recording, BC_SPAN_LIT("{}\n"));
	recording_end(recording);
	text = written("s1");
	ck_assert_str_eq(strchr(text, '\n'), "\n{\"end\":\"queue_full\"}\n");
	ck_assert_int_eq(bc_metric_get(BC_M_RECORDINGS_CUT), cut + 1);
}
END_TEST

START_TEST(a_long_recording_ends_at_its_bound)
{
	struct recording *recording = recording_begin(recorder, cfg, "s1", 0);
	char line[1025];
	const char *text;

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	for (int i = 0; i < 100; i++) {
		recording_line(recording, bc_span(line, sizeof(line) - 1));
	}
	recording_end(recording);
	text = written("s1");
	ck_assert_uint_le(strlen(text), 65536 + 32);
	ck_assert_uint_gt(strlen(text), 60000);
	ck_assert(ends_with(text, "{\"end\":\"size\"}\n"));
}
END_TEST

START_TEST(a_lost_line_ends_the_recording)
{
	struct recording *recording = recording_begin(recorder, cfg, "s1", 0);

	recording_line(recording, bc_span(NULL, 0));
	recording_line(recording, BC_SPAN_LIT("{}\n"));
	recording_end(recording);
	ck_assert(ends_with(written("s1"), "}\n{\"end\":\"memory\"}\n"));
}
END_TEST

START_TEST(a_missing_directory_costs_the_recording_only)
{
	int64_t failed = bc_metric_get(BC_M_RECORDINGS_FAILED);
	struct cfg *other = load("record = \"nowhere\"");
	struct recording *recording = recording_begin(recorder, other, "s1", 0);

	recording_line(recording, BC_SPAN_LIT("{}\n"));
	recording_end(recording);
	ck_assert_ptr_null(written("s1"));
	ck_assert_int_eq(bc_metric_get(BC_M_RECORDINGS_FAILED), failed + 1);
	cfg_unref(other);
}
END_TEST

START_TEST(a_name_that_is_taken_costs_the_recording_only)
{
	int64_t failed = bc_metric_get(BC_M_RECORDINGS_FAILED);
	struct recording *recording;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/s1.jsonl", folder);
	ck_assert_int_eq(symlink("test.toml", path), 0);
	recording = recording_begin(recorder, cfg, "s1", 0);
	recording_line(recording, BC_SPAN_LIT("{}\n"));
	recording_end(recording);
	ck_assert_ptr_nonnull(strstr(written("s1"), "[[listen]]"));
	ck_assert_int_eq(bc_metric_get(BC_M_RECORDINGS_FAILED), failed + 1);
}
END_TEST

START_TEST(a_full_disk_costs_the_recording_only)
{
	const struct rlimit limit = {.rlim_cur = 200, .rlim_max = RLIM_INFINITY};
	int64_t failed = bc_metric_get(BC_M_RECORDINGS_FAILED);
	struct recording *recording = recording_begin(recorder, cfg, "s1", 0);

	/* A file that may not grow fails as one on a full disk does. */
	ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; i < 100; i++) {
		recording_line(recording, BC_SPAN_LIT("{\"line\":1}\n"));
	}
	recording_end(recording);
	ck_assert_uint_le(strlen(written("s1")), 200);
	ck_assert_int_eq(bc_metric_get(BC_M_RECORDINGS_FAILED), failed + 1);
}
END_TEST

START_TEST(recordings_do_not_mix)
{
	struct recording *a = recording_begin(recorder, cfg, "a", 0);
	struct recording *b = recording_begin(recorder, cfg, "b", 0);

	for (int i = 0; i < 50; i++) {
		recording_line(a, BC_SPAN_LIT("{\"of\":\"a\"}\n"));
		recording_line(b, BC_SPAN_LIT("{\"of\":\"b\"}\n"));
	}
	recording_end(a);
	recording_end(b);
	ck_assert_ptr_null(strstr(written("a"), "\"of\":\"b\""));
	ck_assert_ptr_null(strstr(written("b"), "\"of\":\"a\""));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recorder");
	TCase *c = tcase_create("recorder");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, every_line_is_written_in_order);
	tcase_add_test(c, a_full_queue_ends_the_recording_and_says_so);
	tcase_add_test(c, a_long_recording_ends_at_its_bound);
	tcase_add_test(c, a_lost_line_ends_the_recording);
	tcase_add_test(c, a_missing_directory_costs_the_recording_only);
	tcase_add_test(c, a_name_that_is_taken_costs_the_recording_only);
	tcase_add_test(c, a_full_disk_costs_the_recording_only);
	tcase_add_test(c, recordings_do_not_mix);
	suite_add_tcase(suite, c);
	return tap_run(suite);
}
