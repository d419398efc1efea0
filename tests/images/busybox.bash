# SPDX-License-Identifier: Apache-2.0
#
# One small layer.
#	root/		its tree
#	layout/		OCI layout, localhost/busybox:latest

busybox_root "$OUT/root"
"$MKIMAGE" "$OUT/layout" --ref localhost/busybox:latest --cmd '["sh"]' "$OUT/root"
