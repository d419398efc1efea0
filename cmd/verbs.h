/* SPDX-License-Identifier: Apache-2.0 */
/* verbs: what each file of cmd/ adds to the table of commands in cmd/verbs.c. */
#ifndef CMD_VERBS_H
#define CMD_VERBS_H

#include "cmd/app.h"

/* cmd/image.c, cmd/load.c, cmd/remove.c, cmd/image_mount.c */
extern const struct verb images_verb, history_verb, tag_verb, untag_verb;
extern const struct verb load_verb, rmi_verb, image_mount_verb, image_unmount_verb;
/* cmd/pull.c, cmd/login.c */
extern const struct verb pull_verb, login_verb, logout_verb;
/* cmd/inspect.c, cmd/tree.c, cmd/layer.c */
extern const struct verb inspect_verb, tree_verb, layers_verb;
/* cmd/container.c */
extern const struct verb create_verb, ps_verb, mount_verb, unmount_verb, rm_verb, diff_verb;
/* cmd/run.c, cmd/bundle.c */
extern const struct verb run_verb_entry, bundle_verb;
/* cmd/system.c */
extern const struct verb gc_verb, df_verb, info_verb, version_verb;
/* cmd/serve/serve.c */
extern const struct verb serve_verb;

#endif
