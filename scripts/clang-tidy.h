/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For clang-tidy only, which sees one file at a time: what driver/base/err.h promises. What failed
 * returns a negative number, so that "if (r < 0) return r;" ends the paths where something is not
 * set.
 */
#ifndef SCRIPTS_CLANG_TIDY_H
#define SCRIPTS_CLANG_TIDY_H

#include "driver/base/err.h"

#define negative_(call, code)                    \
	({                                       \
		int code_ = (code);              \
		(void)(call);                    \
		if (code_ >= 0)                  \
			__builtin_unreachable(); \
		code_;                           \
	})
#define fail(err, code, ...)	   negative_(fail(err, code, __VA_ARGS__), code)
#define err_prefix(err, code, ...) negative_(err_prefix(err, code, __VA_ARGS__), code)
#define fail_oom(err)		   negative_(fail_oom(err), -ENOMEM)

#endif
