/* SPDX-License-Identifier: Apache-2.0 */
/* registry: the options that all commands have which speak to a registry. */
#ifndef CMD_REGISTRY_H
#define CMD_REGISTRY_H

#include "cmd/app.h"

struct registry_flags {
	const char *authfile, *cert_dir, *creds;
	const char *retry, *retry_delay, *stall_timeout, *min_speed, *max_downloads;
	bool no_verify;
};

/* In a verb's table: `type` is its struct, `member` the registry_flags in it. */
#define REGISTRY_ACCESS_OPTIONS(type, member)                                                      \
	{ 0,	       "authfile",                                                                 \
	  OPTION_TEXT, offsetof(type, member.authfile),                                            \
	  "FILE",      "credentials, instead of the usual files" },                                \
		{ 0,	       "cert-dir",                                                         \
		  OPTION_TEXT, offsetof(type, member.cert_dir),                                    \
		  "DIR",       "*.crt, *.cert and *.key for the registry, instead of certs.d" },   \
	{                                                                                          \
		0, "tls-verify", OPTION_OFF, offsetof(type, member.no_verify), "BOOL",             \
			"false: no certificate is verified, and plain HTTP will do (default true)" \
	}

/* -EINVAL with words. */
int registry_settings(const struct registry_flags *flags, struct overlaid_registry *ret,
		      struct err *err);

#endif
