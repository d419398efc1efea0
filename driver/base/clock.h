/* SPDX-License-Identifier: Apache-2.0 */
/* clock: the time that only goes on (CLOCK_MONOTONIC), whatever the time of day is set to; and that one. */
#ifndef DRIVER_BASE_CLOCK_H
#define DRIVER_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND_NS ((int64_t)1000000000)

/* Nanoseconds since some point in the past. */
static inline int64_t clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * CLOCK_SECOND_NS + now.tv_nsec;
}

/* The point that lies so many nanoseconds ahead, for what waits until one. */
static inline struct timespec clock_after(int64_t ns)
{
	int64_t at = clock_ns() + ns;

	return (struct timespec){ .tv_sec = (time_t)(at / CLOCK_SECOND_NS),
				  .tv_nsec = (long)(at % CLOCK_SECOND_NS) };
}

/* Nanoseconds since 1970, as the time of day is set. */
static inline int64_t clock_real_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * CLOCK_SECOND_NS + now.tv_nsec;
}

#endif
