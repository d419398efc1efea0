/* SPDX-License-Identifier: Apache-2.0 */
/* defaults: what docker and `runc spec` give every container; shared by run and bundle. Lists are
 * ended by NULL. */
#ifndef CMD_DEFAULTS_H
#define CMD_DEFAULTS_H

extern const char *const default_capabilities[];
extern const char *const default_masked_paths[];   /* nothing to see there */
extern const char *const default_readonly_paths[]; /* nothing to write there */

#endif
