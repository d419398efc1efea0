/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/ring.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define BYTES 1000
#define TOTAL 1000000

struct side {
	struct ring *ring;
	size_t step;
	int result;
};

static void *put_all(void *arg)
{
	struct side *side = arg;
	unsigned char piece[3000];

	for (size_t at = 0; at < TOTAL && side->result == 0; at += side->step) {
		size_t n = side->step < TOTAL - at ? side->step : TOTAL - at;

		for (size_t i = 0; i < n; i++)
			piece[i] = (unsigned char)((at + i) * 13);
		side->result = ring_put(side->ring, piece, n);
	}
	ring_end(side->ring, side->result);
	return NULL;
}

static void take_all(size_t put_step, size_t read_step)
{
	struct side side = { .ring = ring_new(BYTES), .step = put_step };
	unsigned char copy[3000];
	const void *block = copy;
	pthread_t thread;
	size_t at = 0;
	ssize_t n;

	assert_non_null(side.ring);
	assert_int_equal(pthread_create(&thread, NULL, put_all, &side), 0);
	while ((n = read_step ? ring_read(side.ring, copy, read_step) :
				ring_take(side.ring, &block)) > 0) {
		for (ssize_t i = 0; i < n; i++, at++)
			if (((const unsigned char *)block)[i] != (unsigned char)(at * 13))
				assert_int_equal(at, TOTAL);
	}
	assert_int_equal(n, 0);
	assert_int_equal(at, TOTAL);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(side.result, 0);
	ring_free(side.ring);
}

static void all_that_is_put_is_taken_in_order(void **state)
{
	static const size_t steps[] = { 1, 7, 999, 1000, 1001, 3000 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		take_all(steps[i], 0);
		take_all(steps[i], 1 + i * 500);
	}
}

static void a_block_stays_until_the_next_is_asked_for(void **state)
{
	struct ring *ring = ring_new(8);
	const void *block;

	assert_int_equal(ring_put(ring, "abcdefgh", 8), 0);
	assert_int_equal(ring_take(ring, &block), 2);
	assert_memory_equal(block, "ab", 2);
	ring_end(ring, 0);
	assert_memory_equal(block, "ab", 2);
	assert_int_equal(ring_take(ring, &block), 2);
	assert_memory_equal(block, "cd", 2);
	ring_free(ring);
}

static void a_failure_comes_before_what_is_in_it(void **state)
{
	struct ring *ring = ring_new(8);
	const void *block;

	assert_int_equal(ring_put(ring, "ab", 2), 0);
	ring_end(ring, -ECONNRESET);
	ring_end(ring, 0);
	assert_int_equal(ring_take(ring, &block), -ECONNRESET);
	assert_int_equal(ring_put(ring, "c", 1), -EPIPE);
	ring_free(ring);
}

static void who_waits_to_put_is_told_of_the_stop(void **state)
{
	struct side side = { .ring = ring_new(BYTES), .step = 100 };
	const void *block;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, put_all, &side), 0);
	assert_true(ring_take(side.ring, &block) > 0);
	ring_stop(side.ring);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(side.result, -EPIPE);
	assert_int_equal(ring_take(side.ring, &block), -EPIPE);
	ring_free(side.ring);
}

static void *take_one(void *arg)
{
	struct side *side = arg;
	const void *block;

	side->result = (int)ring_take(side->ring, &block);
	return NULL;
}

static void who_waits_to_take_is_told_of_either(void **state)
{
	static const int results[] = { 0, -ECONNRESET, -EPIPE };

	for (int i = 0; i < 3; i++) {
		struct side side = { .ring = ring_new(BYTES), .result = 1 };
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, take_one, &side), 0);
		if (i < 2)
			ring_end(side.ring, results[i]);
		else
			ring_stop(side.ring);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(side.result, results[i]);
		ring_free(side.ring);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_is_put_is_taken_in_order),
		cmocka_unit_test(a_block_stays_until_the_next_is_asked_for),
		cmocka_unit_test(a_failure_comes_before_what_is_in_it),
		cmocka_unit_test(who_waits_to_put_is_told_of_the_stop),
		cmocka_unit_test(who_waits_to_take_is_told_of_either),
	};

	(void)alarm(600);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
