/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/dl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "driver/base/auto.h"

typedef double cosine(double);
static cosine *cos_slot, *gone_slot;

static const struct dl_symbol good[] = { { "cos", &cos_slot } };
static const struct dl_symbol bad[] = { { "cos", &cos_slot }, { "no_such_function", &gone_slot } };

static void a_library_is_loaded_once(void **state)
{
	struct dl_library m = {
		"libm.so.6", "libc6", good, ARRAY_LEN(good), PTHREAD_MUTEX_INITIALIZER, 0
	};
	cosine *first;

	cos_slot = NULL;
	assert_int_equal(dl_load(&m, NULL), 0);
	assert_non_null(cos_slot);
	assert_true(cos_slot(0) == 1);
	first = cos_slot;
	cos_slot = NULL;
	assert_int_equal(dl_load(&m, NULL), 0); /* does not fill it again */
	assert_null(cos_slot);
	cos_slot = first;
}

static void a_missing_library_names_its_package(void **state)
{
	struct dl_library none = { "libnothing.so.9",
				   "libnothing9",
				   good,
				   ARRAY_LEN(good),
				   PTHREAD_MUTEX_INITIALIZER,
				   0 };
	struct err err = { 0 };

	assert_int_equal(dl_load(&none, &err), -ELIBACC);
	assert_non_null(strstr(err.text, "libnothing.so.9"));
	assert_non_null(strstr(err.text, "install the package libnothing9"));
	assert_int_equal(dl_load(&none, NULL), -ELIBACC); /* the lock was given back */
}

static void a_missing_function_is_named(void **state)
{
	struct dl_library old = {
		"libm.so.6", "libc6", bad, ARRAY_LEN(bad), PTHREAD_MUTEX_INITIALIZER, 0
	};
	struct err err = { 0 };

	assert_int_equal(dl_load(&old, &err), -ELIBACC);
	assert_non_null(strstr(err.text, "libm.so.6 has no no_such_function"));
	assert_non_null(strstr(err.text, "libc6"));
	assert_null(gone_slot);
}

static struct dl_library shared = {
	"libm.so.6", "libc6", good, ARRAY_LEN(good), PTHREAD_MUTEX_INITIALIZER, 0
};

static void *load_and_use(void *arg)
{
	*(int *)arg = dl_load(&shared, NULL) == 0 && cos_slot(0) == 1;
	return NULL;
}

static void threads_load_at_the_same_time(void **state)
{
	pthread_t threads[8];
	int worked[8] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, load_and_use, &worked[i]), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(worked[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_library_is_loaded_once),
		cmocka_unit_test(a_missing_library_names_its_package),
		cmocka_unit_test(a_missing_function_is_named),
		cmocka_unit_test(threads_load_at_the_same_time),
	};

	return cmocka_run_group_tests_name("dl", tests, NULL, NULL);
}
