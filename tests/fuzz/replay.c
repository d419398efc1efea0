/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main() of a fuzz target that is not built with libFuzzer: runs the files it is given, or those of
 * its corpus, and says so in TAP. A target that finds something dies, and the plan is not fulfilled.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/fd.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX ((size_t)64 << 20)

#pragma weak LLVMFuzzerInitialize

/* Mutators are linked, but nobody calls them. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
	abort();
}

static void run_file(int number, int dirfd, const char *name)
{
	auto_buf struct buf bytes = { .max = INPUT_MAX };
	struct err err = { 0 };
	auto_free uint8_t *input = NULL;

	if (read_file_at(dirfd, name, &bytes, &err) < 0) {
		(void)printf("not ok %d - %s: %s\n", number, name, err.text);
		return;
	}
	/* Ends where the input does, so that a byte too far is seen. */
	input = malloc(bytes.len ? bytes.len : 1);
	if (!input)
		abort();
	memcpy(input, buf_text(&bytes), bytes.len);
	(void)printf("# %s\n", name);
	(void)fflush(stdout);
	(void)LLVMFuzzerTestOneInput(input, bytes.len);
	(void)printf("ok %d - %s\n", number, name);
	(void)fflush(stdout);
}

static int no_dots(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* That of NAME_fuzz is tests/fuzz/corpus/NAME. */
static int run_corpus(const char *program)
{
	const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;
	const char *end = strstr(name, "_fuzz");
	struct dirent **entries = NULL;
	auto_buf struct buf path = { 0 };
	auto_close int fd = -EBADF;
	int count;

	(void)buf_puts(&path, "tests/fuzz/corpus/");
	(void)buf_append(&path, name, end ? (size_t)(end - name) : strlen(name));
	count = scandir(buf_text(&path), &entries, no_dots, alphasort);
	fd = open(buf_text(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (count <= 0 || fd < 0) {
		(void)printf("1..1\nnot ok 1 - there are no files in %s\n", buf_text(&path));
		return 1;
	}
	(void)printf("1..%d\n", count);
	for (int i = 0; i < count; i++) {
		run_file(i + 1, fd, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

int main(int argc, char **argv)
{
	if (LLVMFuzzerInitialize && LLVMFuzzerInitialize(&argc, &argv) != 0)
		return 1;
	if (argc < 2)
		return run_corpus(argv[0]);
	(void)printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc; i++)
		run_file(i, AT_FDCWD, argv[i]);
	return 0;
}
