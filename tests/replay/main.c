/* replay CONFIG RECORDING: whether a recorded call is decided today as it was then; exits 1 if it is not. */
#include "daemon/tools/tool.h"
#include "tests/replay/replay.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORDING_MAX ((size_t)1 << 30)
#define PIECE         ((size_t)1 << 20)

static bool read_file(const char *path, struct bc_buf *out)
{
	FILE *file = fopen(path, "rb");
	size_t got = PIECE;

	while (file != NULL && got == PIECE) {
		char *room;

		if (bc_buf_room(out, PIECE, &room) != BC_OK) {
			break;
		}
		got = fread(room, 1, PIECE, file);
		bc_buf_grow(out, got);
	}
	return file != NULL && ferror(file) == 0 && fclose(file) == 0 && got < PIECE;
}

static bool run(struct cfg *cfg, const char *path, struct bc_buf *message)
{
	struct replay_result result = {0};
	struct bc_buf text;
	bool held;

	bc_buf_init(&text, RECORDING_MAX);
	held = read_file(path, &text) && replay(cfg, bc_buf_span(&text), true, &result, message);
	bc_buf_release(&text);
	(void)printf("%s: %u inputs, %u decisions, %s%s\n", path, result.inputs, result.decisions,
		     held ? "the same" : "DIFFERENT", result.complete ? "" : ", cut");
	return held && result.complete;
}

int main(int argc, char **argv)
{
	struct bc_buf message;
	struct cfg *cfg;
	bool held = false;

	if (argc != 3) {
		(void)fputs("usage: replay CONFIG RECORDING\n", stderr);
		return 2;
	}
	bc_buf_init(&message, 65536);
	cfg_schema_check_set(tool_schema_check);
	cfg_request_check_set(tool_request_check);
	if (cfg_load(argv[1], &message, &cfg) == BC_OK) {
		held = run(cfg, argv[2], &message);
		cfg_unref(cfg);
	}
	(void)fprintf(stderr, "%.*s\n", BC_SPAN_ARG(bc_buf_span(&message)));
	bc_buf_release(&message);
	return held ? EXIT_SUCCESS : EXIT_FAILURE;
}
