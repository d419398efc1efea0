/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/background.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void reap(const struct overlaid_options *options)
{
	struct overlaid_options quiet = *options;
	struct overlaid *store;
	int null;

	/* Whoever waits for the end of our output or of our terminal's session is not to wait for
	 * us. */
	(void)setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		return;
	closefrom(3);
	quiet.progress = NULL;
	quiet.must_exist = true;
	if (overlaid_open(&quiet, &store, NULL) < 0)
		return;
	(void)overlaid_reap(store, false,
			    NULL); /* nobody is there to be told; what is left, gc finds */
	overlaid_close(store);
}

void background_reap(const struct overlaid_options *options)
{
	/* Once is enough: the caller ends now, and the child belongs to init. */
	if (fork() != 0)
		return;
	reap(options);
	_exit(EXIT_SUCCESS);
}
