# SPDX-License-Identifier: Apache-2.0
#
# many-N: N layers, busybox and tiny ones; /etc/last holds the number of the topmost.
#	layout/		OCI layout, localhost/many:N

count=$1
busybox_root "$OUT/layers/001"
for ((i = 2; i <= count; i++)); do
	printf -v number %03d "$i"
	tiny+=("$OUT/layers/$number")
done
mkdir -p "${tiny[@]/%//opt/layer}" "${tiny[@]/%//etc}"
for layer in "${tiny[@]}"; do
	echo "layer ${layer##*/}" >"$layer/opt/layer/${layer##*/}"
	echo "$((10#${layer##*/}))" >"$layer/etc/last"
done
find "$OUT/layers" -exec touch -h -d '2024-01-01 00:00:00 UTC' {} +
"$MKIMAGE" "$OUT/layout" --ref "localhost/many:$count" --cmd '["sh"]' "$OUT/layers/001" "${tiny[@]}"
rm -rf "$OUT/layers"
