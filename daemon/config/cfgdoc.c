/*
 * Build-time generator: cfgdoc sample, or cfgdoc manual FRAME, where the line "; OPTIONS" of FRAME (a comment to
 * scdoc) is replaced by the options.  Writes to standard output.
 */
#include "daemon/config/config.h"

#include <stdio.h>
#include <stdlib.h>

#define OUTPUT_MAX ((size_t)1 << 20) /* bytes */
#define LINE_SIZE  1024

static int put(const struct bc_buf *out)
{
	struct bc_span text = bc_buf_span(out);

	return fwrite(text.ptr, 1, text.len, stdout) == text.len && fflush(stdout) == 0
		       ? EXIT_SUCCESS
		       : EXIT_FAILURE;
}

static enum bc_err fill_frame(FILE *frame, struct bc_buf *out)
{
	char line[LINE_SIZE];
	enum bc_err err = BC_OK;

	while (err == BC_OK && fgets(line, sizeof(line), frame) != NULL) {
		if (strcmp(line, "; OPTIONS\n") == 0) {
			err = cfg_print_manual(out);
		} else {
			err = bc_buf_put_str(out, line);
		}
	}
	return err;
}

static enum bc_err manual(const char *path, struct bc_buf *out)
{
	FILE *frame = fopen(path, "re");
	enum bc_err err;

	if (frame == NULL) {
		return BC_E_NOTFOUND;
	}
	err = fill_frame(frame, out);
	(void)fclose(frame);
	return err;
}

int main(int argc, char *argv[])
{
	enum bc_err err = BC_E_INVALID;
	int status = EXIT_FAILURE;
	struct bc_buf out;

	bc_buf_init(&out, OUTPUT_MAX);
	if (argc == 2 && strcmp(argv[1], "sample") == 0) {
		err = cfg_print_sample(&out);
	} else if (argc == 3 && strcmp(argv[1], "manual") == 0) {
		err = manual(argv[2], &out);
	} else {
		(void)fputs("usage: cfgdoc sample | manual FRAME\n", stderr);
	}
	if (err == BC_OK) {
		status = put(&out);
	} else {
		(void)fprintf(stderr, "cfgdoc: %s\n", bc_err_text(err));
	}
	bc_buf_release(&out);
	return status;
}
