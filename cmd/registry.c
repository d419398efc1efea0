/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/registry.h"

#include <stdlib.h>

#define COUNT_MAX   1000000
#define SECONDS_MAX 86400

/* A number from `least` to `most`. */
static int parse_number(const char *option, const char *text, double least, double most,
			double *ret, struct err *err)
{
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (end == text || *end || errno || !(value >= least && value <= most))
		return fail(err, -EINVAL, "--%s takes a number from %g to %g, not '%.60s'", option,
			    least, most, text);
	*ret = value;
	return 0;
}

int registry_settings(const struct registry_flags *flags, struct overlaid_registry *ret,
		      struct err *err)
{
	double retry = 0, delay = 0, stall = 0, speed = 0, parallel = 0;
	const struct {
		const char *option, *text;
		double least, most;
		double *value;
	} numbers[] = {
		{ "retry", flags->retry, 0, COUNT_MAX, &retry },
		{ "retry-delay", flags->retry_delay, 0.001, SECONDS_MAX, &delay },
		{ "stall-timeout", flags->stall_timeout, 1, SECONDS_MAX, &stall },
		{ "min-speed", flags->min_speed, 1, 1e9, &speed },
		{ "max-downloads", flags->max_downloads, 1, 64, &parallel },
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int r = numbers[i].text ?
				parse_number(numbers[i].option, numbers[i].text, numbers[i].least,
					     numbers[i].most, numbers[i].value, err) :
				0;

		if (r < 0)
			return r;
	}
	*ret = (struct overlaid_registry){
		.user_password = flags->creds,
		.authfile = flags->authfile,
		.cert_dir = flags->cert_dir,
		.tls = flags->no_verify ? OVERLAID_TLS_NO_VERIFY : OVERLAID_TLS_AS_CONFIGURED,
		.retries = flags->retry && retry < 1 ? -1 : (int)retry,
		.delay_ms = (unsigned int)(delay * 1000),
		.stall_seconds = (unsigned int)stall,
		.min_speed = (unsigned int)speed,
		.parallel = (unsigned int)parallel,
	};
	return 0;
}
