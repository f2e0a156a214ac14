/*
 * Runs every file of the directories named as arguments through a fuzz target, so that what once was found stays
 * found with any compiler.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Run one file; 0, or -1 if it could not be read. */
static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat status;
	uint8_t *data = NULL;
	size_t size;
	int result = -1;

	if (file == NULL || fstat(fileno(file), &status) != 0) {
		goto end;
	}
	/* Exactly its size, so that a sanitizer sees a read behind it. */
	size = (size_t)status.st_size;
	data = malloc(size + (size == 0));
	if (data == NULL || fread(data, 1, size, file) != size) {
		goto end;
	}
	result = LLVMFuzzerTestOneInput(data, size);
end:
	if (result != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	}
	free(data);
	if (file != NULL) {
		(void)fclose(file);
	}
	return result;
}

/* Run the files of one directory; how many, or -1. */
static int replay_all(const char *directory)
{
	struct dirent **entries;
	int n = scandir(directory, &entries, NULL, alphasort);
	int done = 0;

	if (n < 0) {
		fprintf(stderr, "%s: %s\n", directory, strerror(errno));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		char path[4096];
		int len = snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);

		if (entries[i]->d_name[0] != '.' && done >= 0) {
			done = len < (int)sizeof(path) && replay(path) == 0 ? done + 1 : -1;
		}
		free(entries[i]);
	}
	free(entries);
	return done;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int done = replay_all(argv[i]);

		if (done <= 0) {
			fprintf(stderr, "%s: %s\n", argv[i], done == 0 ? "no files" : "failed");
			return 1;
		}
		printf("%s: %d files\n", argv[i], done);
	}
	return argc > 1 ? 0 : 1;
}
