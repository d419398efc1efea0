/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/wire.h"

#include <cmd/serve/snapshots.pb-c.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

/* Bytes with a literal's length, NULs and all. */
#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static struct wire_request parsed(enum wire_kind kind, const uint8_t *bytes, size_t len)
{
	struct wire_request request = { 0 };
	struct err err = { 0 };

	if (wire_parse(kind, bytes, len, &request, &err) < 0)
		fail_msg("%s", err.text);
	return request;
}

static void check_refused(enum wire_kind kind, const void *bytes, size_t len, const char *words)
{
	struct wire_request request = { .key = "untouched" };
	struct err err = { 0 };

	assert_int_equal(wire_parse(kind, bytes, len, &request, &err), -EINVAL);
	assert_string_equal(request.key, "untouched");
	assert_null(request.blocks);
	assert_string_equal(err.text, words);
}

static void check_label(const struct overlaid_label *label, const char *key, const char *value)
{
	assert_string_equal(label->key, key);
	assert_string_equal(label->value, value);
}

/* A field of that number (below 16) that has a length. */
static void put_field(struct buf *b, int number, const void *data, size_t len)
{
	size_t rest = len;

	assert_int_equal(buf_putc(b, (char)(number << 3 | 2)), 0);
	for (; rest >= 0x80; rest >>= 7)
		assert_int_equal(buf_putc(b, (char)(rest | 0x80)), 0);
	assert_int_equal(buf_putc(b, (char)rest), 0);
	assert_int_equal(buf_append(b, data, len), 0);
}

/* ---- requests: the bytes are what containerd 1.6's Go sends ---- */

static void prepare_says_key_parent_and_labels(void **state)
{
	auto_wire_request struct wire_request request =
		parsed(WIRE_PREPARE, BYTES("\12\1o\22\24default/1/x sha256:d\32\1p"
					   "\42\46\12\32containerd.io/snapshot.ref\22\10sha256:d"
					   "\42\5\12\1e\22\0"));

	assert_string_equal(request.snapshotter, "o");
	assert_string_equal(request.key, "default/1/x sha256:d");
	assert_string_equal(request.parent, "p");
	assert_string_equal(request.name, "");
	assert_int_equal(request.label_count, 2);
	check_label(&request.labels[0], "containerd.io/snapshot.ref", "sha256:d");
	check_label(&request.labels[1], "e", "");
}

static void commit_says_name_and_key(void **state)
{
	auto_wire_request struct wire_request request =
		parsed(WIRE_COMMIT, BYTES("\12\1o\22\1n\32\1k\42\6\12\1a\22\1b\52\6parent"));

	assert_string_equal(request.name, "n");
	assert_string_equal(request.key, "k");
	assert_string_equal(request.parent, "parent");
	assert_int_equal(request.label_count, 1);
	check_label(&request.labels[0], "a", "b");
}

static void update_says_labels_and_mask(void **state)
{
	auto_wire_request struct wire_request request =
		parsed(WIRE_UPDATE,
		       BYTES("\12\1o\22\60\12\1n\22\14doesnotexist\30\3"
			     "\42\15\10\373\377\377\377\377\377\377\377\377\1\20\7\52\4\10\1\20\2"
			     "\62\6\12\1a\22\1b\32\22\12\10labels.a\12\6labels"));

	assert_string_equal(request.key, "n");
	assert_string_equal(request.parent, "");
	assert_int_equal(request.label_count, 1);
	check_label(&request.labels[0], "a", "b");
	assert_true(request.has_mask);
	assert_int_equal(request.mask_count, 2);
	assert_string_equal(request.mask[0], "labels.a");
	assert_string_equal(request.mask[1], "labels");
}

static void a_mask_may_be_empty_or_missing(void **state)
{
	auto_wire_request struct wire_request empty = parsed(WIRE_UPDATE, BYTES("\22\0\32\0"));
	auto_wire_request struct wire_request missing = parsed(WIRE_UPDATE, BYTES(""));

	assert_true(empty.has_mask);
	assert_int_equal(empty.mask_count, 0);
	assert_false(missing.has_mask);
	assert_string_equal(missing.key, "");
}

static void list_says_filters(void **state)
{
	auto_wire_request struct wire_request request = parsed(WIRE_LIST,
							       BYTES("\12\1o\22\7name==a\22\0"));

	assert_int_equal(request.filter_count, 2);
	assert_string_equal(request.filters[0], "name==a");
	assert_string_equal(request.filters[1], "");
}

static void the_others_say_who_and_what(void **state)
{
	auto_wire_request struct wire_request key = parsed(WIRE_KEY, BYTES("\12\1o\22\1k"));
	auto_wire_request struct wire_request cleanup = parsed(WIRE_CLEANUP, BYTES("\12\1o"));
	auto_wire_request struct wire_request health = parsed(WIRE_HEALTH, BYTES("\12\1s"));
	auto_wire_request struct wire_request nothing = parsed(WIRE_KEY, NULL, 0);

	assert_string_equal(key.key, "k");
	assert_string_equal(cleanup.snapshotter, "o");
	assert_string_equal(health.name, "s");
	assert_string_equal(nothing.snapshotter, "");
	assert_string_equal(nothing.key, "");
	assert_int_equal(nothing.label_count, 0);
}

/* ---- requests of others ---- */

static void of_labels_with_one_key_the_last_wins(void **state)
{
	auto_wire_request struct wire_request request = parsed(WIRE_PREPARE,
							       BYTES("\42\6\12\1b\22\1"
								     "1"
								     "\42\6\12\1a\22\1"
								     "2"
								     "\42\6\12\1b\22\1"
								     "3"
								     "\42\6\12\1c\22\1"
								     "4"
								     "\42\3\12\1b"));

	assert_int_equal(request.label_count, 3);
	check_label(&request.labels[0], "a", "2");
	check_label(&request.labels[1], "b", "");
	check_label(&request.labels[2], "c", "4");
}

static void a_label_may_be_empty(void **state)
{
	auto_wire_request struct wire_request request = parsed(WIRE_PREPARE,
							       BYTES("\42\0\42\3\22\1v"));

	assert_int_equal(request.label_count, 1);
	check_label(&request.labels[0], "", "v");
}

static void of_a_string_said_twice_the_last_wins(void **state)
{
	auto_wire_request struct wire_request request = parsed(WIRE_KEY,
							       BYTES("\22\1a\12\1o\22\2bc"));

	assert_string_equal(request.key, "bc");
}

/* As protobuf wants it of messages; Go and protobuf-c do. */
static void an_info_said_twice_is_merged(void **state)
{
	auto_wire_request struct wire_request request = parsed(WIRE_UPDATE,
							       BYTES("\22\13\12\1n\62\6\12\1a\22\1"
								     "1"
								     "\22\10\62\6\12\1b\22\1"
								     "2"));

	assert_string_equal(request.key, "n");
	assert_int_equal(request.label_count, 2);
	check_label(&request.labels[0], "a", "1");
	check_label(&request.labels[1], "b", "2");
}

static void unknown_fields_are_skipped(void **state)
{
	auto_wire_request struct wire_request request = parsed(WIRE_KEY,
							       BYTES("\170\1\171"
								     "12345678"
								     "\175"
								     "1234\172\3abc\22\1k"));

	assert_string_equal(request.key, "k");
}

static void a_request_lives_without_the_bytes(void **state)
{
	uint8_t bytes[] = "\22\1k";
	auto_wire_request struct wire_request request = parsed(WIRE_KEY, bytes, 3);

	memset(bytes, 'x', sizeof(bytes));
	assert_string_equal(request.key, "k");
}

static void what_is_no_message_is_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{ "\22", 1 },						/* no length */
		{ "\22\5abc", 5 },					/* ends early */
		{ "\22\377\377\377\377\377\377\377\377\177", 10 },	/* a length beyond all */
		{ "\22\377\377\377\377\17", 6 },			/* of 4 GiB */
		{ "\377\377\377\377\377\377\377\377\377\377\377", 11 }, /* no number ends */
		{ "\23\24", 2 },					/* a group */
		{ "\0\0", 2 },						/* field 0 */
		{ "\20\1", 2 }, /* a number where bytes should be */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check_refused(WIRE_KEY, cases[i].bytes, cases[i].len,
			      "the request is no message of protobuf");
}

static void strings_are_utf8_without_nul(void **state)
{
	check_refused(WIRE_KEY, BYTES("\12\2a\0"), "snapshotter has a NUL in it");
	check_refused(WIRE_KEY, BYTES("\22\1\377"), "key is not UTF-8");
	check_refused(WIRE_KEY, BYTES("\22\3\355\240\200"), "key is not UTF-8");
	check_refused(WIRE_PREPARE, BYTES("\32\1\300"), "parent is not UTF-8");
	check_refused(WIRE_COMMIT, BYTES("\22\1\0"), "name has a NUL in it");
	check_refused(WIRE_PREPARE, BYTES("\42\3\12\1\0"), "the key of a label has a NUL in it");
	check_refused(WIRE_PREPARE, BYTES("\42\3\22\1\377"), "the value of a label is not UTF-8");
	check_refused(WIRE_UPDATE, BYTES("\22\3\12\1\377"), "info.name is not UTF-8");
	check_refused(WIRE_UPDATE, BYTES("\32\3\12\1\0"), "a path of update_mask has a NUL in it");
	check_refused(WIRE_LIST, BYTES("\22\1\377"), "a filter is not UTF-8");
	check_refused(WIRE_HEALTH, BYTES("\12\1\377"), "service is not UTF-8");
}

static void strings_are_bounded(void **state)
{
	static char text[WIRE_STRING_BYTES_MAX + 1];
	auto_buf struct buf name = { 0 }, filter = { 0 };

	memset(text, 'x', sizeof(text));
	put_field(&name, 2, text, WIRE_NAME_BYTES_MAX);
	put_field(&filter, 2, text, WIRE_STRING_BYTES_MAX);
	for (int i = 0; i < 2; i++) {
		const struct buf *b = i ? &filter : &name;
		auto_wire_request struct wire_request request = parsed(i ? WIRE_LIST : WIRE_KEY,
								       (const uint8_t *)b->data,
								       b->len);

		assert_int_equal(strlen(i ? request.filters[0] : request.key),
				 i ? WIRE_STRING_BYTES_MAX : WIRE_NAME_BYTES_MAX);
	}
	buf_reset(&name);
	buf_reset(&filter);
	put_field(&name, 2, text, WIRE_NAME_BYTES_MAX + 1);
	put_field(&filter, 2, text, WIRE_STRING_BYTES_MAX + 1);
	check_refused(WIRE_KEY, name.data, name.len, "key is longer than 4096 bytes");
	check_refused(WIRE_LIST, filter.data, filter.len, "a filter is longer than 65536 bytes");
}

static void lists_are_bounded(void **state)
{
	auto_buf struct buf labels = { 0 }, filters = { 0 };

	for (size_t i = 0; i < WIRE_LIST_MAX; i++) {
		char label[32];
		int len = snprintf(label, sizeof(label), "\12\5%05zu", i);

		put_field(&labels, 4, label, (size_t)len);
		put_field(&filters, 2, "f", 1);
	}
	for (int i = 0; i < 2; i++) {
		const struct buf *b = i ? &filters : &labels;
		auto_wire_request struct wire_request request = parsed(i ? WIRE_LIST : WIRE_PREPARE,
								       (const uint8_t *)b->data,
								       b->len);

		assert_int_equal(request.label_count + request.filter_count, WIRE_LIST_MAX);
	}
	put_field(&labels, 4, "", 0);
	put_field(&filters, 2, "", 0);
	check_refused(WIRE_PREPARE, labels.data, labels.len, "there are more than 10000 labels");
	check_refused(WIRE_LIST, filters.data, filters.len, "there are more than 10000 filters");
}

/* Each of these is 4 MiB that would take a hundred times as much, or the square of a million. */
static void small_parts_cannot_take_all_memory_or_time(void **state)
{
	static const struct {
		enum wire_kind kind;
		const char *part;
		size_t len;
	} cases[] = {
		{ WIRE_PREPARE, "\42\0", 2 },	   /* empty labels */
		{ WIRE_UPDATE, "\22\2\62\0", 4 },  /* infos with a label, to be merged */
		{ WIRE_UPDATE, "\32\2\12\0", 4 },  /* masks with a path */
		{ WIRE_KEY, "\170\1", 2 },	   /* unknown fields */
		{ WIRE_KEY, "\22\0", 2 },	   /* one field again and again */
		{ WIRE_UPDATE, "\22\2\172\0", 4 }, /* unknown ones within */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_buf struct buf bytes = { 0 };
		clock_t begin = clock();

		while (bytes.len < (size_t)4 << 20)
			assert_int_equal(buf_append(&bytes, cases[i].part, cases[i].len), 0);
		check_refused(cases[i].kind, bytes.data, bytes.len,
			      "the request has too many parts: they take more than 16777216 bytes");
		assert_true(clock() - begin < 10 * CLOCKS_PER_SEC);
	}
}

/* ---- answers ---- */

static void mounts_are_as_containerd_reads_them(void **state)
{
	static const char *const options[] = { "ro", "rbind" };
	const struct wire_mount mounts[] = {
		{ .type = "bind", .source = "/s", .options = options, .option_count = 2 },
		{ .type = "overlay", .source = "overlay", .target = "t" },
	};
	auto_buf struct buf out = { 0 };
	struct err err = { 0 };

	assert_int_equal(wire_mounts(mounts, 2, &out, &err), 0);
	assert_int_equal(out.len, 46);
	assert_memory_equal(out.data,
			    "\12\25\12\4bind\22\2/s\42\2ro\42\5rbind"
			    "\12\25\12\7overlay\22\7overlay\32\1t",
			    out.len);
	buf_reset(&out);
	assert_int_equal(wire_mounts(NULL, 0, &out, &err), 0);
	assert_int_equal(out.len, 0);
}

static void a_mount_that_is_not_utf8_is_refused(void **state)
{
	const char *const options[] = { "fine", "lowerdir=\377" };
	const struct wire_mount source = { .type = "bind", .source = "/\377" };
	const struct wire_mount option = { .options = options, .option_count = 2 };
	auto_buf struct buf out = { 0 };
	struct err err = { 0 };

	assert_int_equal(wire_mounts(&source, 1, &out, &err), -EINVAL);
	assert_string_equal(err.text, "the source of a mount is not UTF-8");
	assert_int_equal(wire_mounts(&option, 1, &out, &err), -EINVAL);
	assert_string_equal(err.text, "an option of a mount is not UTF-8");
	assert_int_equal(out.len, 0);
}

static void an_info_is_as_containerd_writes_it(void **state)
{
	static const struct overlaid_label label = { "a", "b" };
	const struct overlaid_snapshot info = {
		.name = "n",
		.parent = "p",
		.kind = OVERLAID_SNAPSHOT_ACTIVE,
		.created_ns = -1,
		.updated_ns = 1700000000000000005,
		.labels = &label,
		.label_count = 1,
	};
	auto_buf struct buf out = { 0 };

	assert_int_equal(wire_info(&info, &out, NULL), 0);
	assert_int_equal(out.len, 47);
	assert_memory_equal(out.data,
			    "\12\55\12\1n\22\1p\30\2\42\21\10\377\377\377\377\377\377\377\377\377\1"
			    "\20\377\223\353\334\3\52\10\10\200\342\317\252\6\20\5\62\6\12\1a\22\1b",
			    out.len);
}

static void times_are_seconds_and_forward_nanos(void **state)
{
	static const struct {
		int64_t ns, seconds;
		int32_t nanos;
	} cases[] = {
		{ 0, 0, 0 },
		{ 1, 0, 1 },
		{ 999999999, 0, 999999999 },
		{ 1000000000, 1, 0 },
		{ -1, -1, 999999999 },
		{ -999999999, -1, 1 },
		{ -1000000000, -1, 0 },
		{ -1000000001, -2, 999999999 },
		{ INT64_MAX, 9223372036, 854775807 },
		{ INT64_MIN, -9223372037, 145224192 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct overlaid_snapshot info = { .created_ns = cases[i].ns };
		auto_buf struct buf out = { 0 };
		Pb__InfoResponse *read;

		assert_int_equal(wire_info(&info, &out, NULL), 0);
		read = pb__info_response__unpack(NULL, out.len, (const uint8_t *)out.data);
		assert_non_null(read);
		assert_int_equal(read->info->created_at->seconds, cases[i].seconds);
		assert_int_equal(read->info->created_at->nanos, cases[i].nanos);
		assert_int_equal(read->info->updated_at->seconds, 0);
		pb__info_response__free_unpacked(read, NULL);
	}
}

static void usage_and_health_are_numbers(void **state)
{
	auto_buf struct buf out = { 0 };

	assert_int_equal(wire_usage(300, 2, &out, NULL), 0);
	assert_int_equal(out.len, 5);
	assert_memory_equal(out.data, "\10\254\2\20\2", 5);
	buf_reset(&out);
	assert_int_equal(wire_usage(0, 0, &out, NULL), 0);
	assert_int_equal(out.len, 0);
	assert_int_equal(wire_health(1, &out, NULL), 0);
	assert_int_equal(out.len, 2);
	assert_memory_equal(out.data, "\10\1", 2);
}

static void a_full_buffer_is_a_failure_with_words(void **state)
{
	auto_buf struct buf out = { .max = 3 };
	struct err err = { 0 };

	assert_int_equal(wire_usage(300, 2, &out, &err), -EFBIG);
	assert_true(err.text[0] != 0);
}

/* ---- lists ---- */

struct received {
	size_t messages, infos, largest, bytes;
	size_t fail_at; /* the number of the message that cannot be sent; 0: none */
};

static int receive(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct received *received = arg;
	Pb__ListResponse *read = pb__list_response__unpack(NULL, len, bytes);

	assert_non_null(read);
	assert_true(read->n_info > 0 && read->n_info <= WIRE_LIST_INFOS);
	assert_true(len <= WIRE_LIST_BYTES || read->n_info == 1);
	for (size_t i = 0; i < read->n_info; i++) {
		char name[16];
		int name_len = snprintf(name, sizeof(name), "%zu", received->infos + i);

		assert_int_equal(read->info[i]->name.len, name_len);
		assert_memory_equal(read->info[i]->name.data, name, (size_t)name_len);
	}
	received->messages++;
	received->infos += read->n_info;
	received->bytes += len;
	received->largest = received->largest < read->n_info ? read->n_info : received->largest;
	pb__list_response__free_unpacked(read, NULL);
	if (received->messages == received->fail_at)
		return -ECANCELED;
	return 0;
}

/* Infos called "0", "1", ..., each with a label of that many bytes. The first failure. */
static int list_infos(struct received *received, size_t count, size_t label_bytes)
{
	auto_wire_list struct wire_list list = { .send = receive, .arg = received };
	auto_free char *value = calloc(1, label_bytes + 1);
	const struct overlaid_label label = { "l", value };
	int r = 0;

	assert_non_null(value);
	memset(value, 'x', label_bytes);
	for (size_t i = 0; i < count && r == 0; i++) {
		char name[16];
		const struct overlaid_snapshot info = { .name = name,
							.labels = &label,
							.label_count = 1 };

		(void)snprintf(name, sizeof(name), "%zu", i);
		r = wire_list_add(&list, &info, NULL);
	}
	return r < 0 ? r : wire_list_end(&list, NULL);
}

static void a_list_of_nothing_sends_nothing(void **state)
{
	struct received received = { 0 };

	assert_int_equal(list_infos(&received, 0, 0), 0);
	assert_int_equal(received.messages, 0);
}

static void a_message_has_a_hundred_infos(void **state)
{
	struct received received = { 0 }, full = { 0 };

	assert_int_equal(list_infos(&received, 250, 10), 0);
	assert_int_equal(received.messages, 3);
	assert_int_equal(received.infos, 250);
	assert_int_equal(received.largest, 100);
	assert_int_equal(list_infos(&full, 200, 10), 0);
	assert_int_equal(full.messages, 2);
}

static void a_message_has_at_most_a_mebibyte(void **state)
{
	struct received half = { 0 }, large = { 0 };

	assert_int_equal(list_infos(&half, 5, 400000), 0);
	assert_int_equal(half.infos, 5);
	assert_int_equal(half.messages, 3);
	assert_int_equal(list_infos(&large, 3, 2 << 20), 0);
	assert_int_equal(large.messages, 3);
}

static void who_cannot_send_ends_the_list(void **state)
{
	struct received received = { .fail_at = 2 };

	assert_int_equal(list_infos(&received, 1000, 0), -ECANCELED);
	assert_int_equal(received.messages, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prepare_says_key_parent_and_labels),
		cmocka_unit_test(commit_says_name_and_key),
		cmocka_unit_test(update_says_labels_and_mask),
		cmocka_unit_test(a_mask_may_be_empty_or_missing),
		cmocka_unit_test(list_says_filters),
		cmocka_unit_test(the_others_say_who_and_what),
		cmocka_unit_test(of_labels_with_one_key_the_last_wins),
		cmocka_unit_test(a_label_may_be_empty),
		cmocka_unit_test(of_a_string_said_twice_the_last_wins),
		cmocka_unit_test(an_info_said_twice_is_merged),
		cmocka_unit_test(unknown_fields_are_skipped),
		cmocka_unit_test(a_request_lives_without_the_bytes),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(strings_are_utf8_without_nul),
		cmocka_unit_test(strings_are_bounded),
		cmocka_unit_test(lists_are_bounded),
		cmocka_unit_test(small_parts_cannot_take_all_memory_or_time),
		cmocka_unit_test(mounts_are_as_containerd_reads_them),
		cmocka_unit_test(a_mount_that_is_not_utf8_is_refused),
		cmocka_unit_test(an_info_is_as_containerd_writes_it),
		cmocka_unit_test(times_are_seconds_and_forward_nanos),
		cmocka_unit_test(usage_and_health_are_numbers),
		cmocka_unit_test(a_full_buffer_is_a_failure_with_words),
		cmocka_unit_test(a_list_of_nothing_sends_nothing),
		cmocka_unit_test(a_message_has_a_hundred_infos),
		cmocka_unit_test(a_message_has_at_most_a_mebibyte),
		cmocka_unit_test(who_cannot_send_ends_the_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
