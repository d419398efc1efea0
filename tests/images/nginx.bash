# SPDX-License-Identifier: Apache-2.0
#
# nginx as its official image is built: seven layers, the Debian base, the server, an entry point and
# four scripts.
#	layout/			OCI layout, nginx:latest, layers gzip
#	docker-archive.tar	the same as podman saves it
#	layers/			trees of the upper six layers, in tar form
# needs: base

base=$(image base)
LOWERS=("$base/root")

install_nginx() {
	in_root 'apt-get update -qq
		apt-get install -y -qq --no-install-recommends nginx gettext-base
		ln -sf /dev/stdout /var/log/nginx/access.log
		ln -sf /dev/stderr /var/log/nginx/error.log'
	tidy_debian "$ROOT"
}

entrypoint() {
	mkdir "$ROOT/docker-entrypoint.d"
	cat >"$ROOT/docker-entrypoint.sh" <<-'END'
		#!/bin/sh
		set -e
		for script in /docker-entrypoint.d/*.sh; do
			[ ! -x "$script" ] || "$script"
		done
		exec "$@"
	END
	chmod 775 "$ROOT/docker-entrypoint.sh"
}

script() {
	printf '#!/bin/sh\n# %s\nexit 0\n' "$1" >"$ROOT/docker-entrypoint.d/$1"
	chmod 755 "$ROOT/docker-entrypoint.d/$1"
}

capture 1-nginx install_nginx
capture 2-entrypoint entrypoint
capture 3-listen script 10-listen-on-ipv6-by-default.sh
capture 4-resolvers script 15-local-resolvers.envsh
capture 5-envsubst script 20-envsubst-on-templates.sh
capture 6-tune script 30-tune-worker-processes.sh
to_tar_form "$OUT/layers"

version=$(sed -n '/^Package: nginx$/,/^$/s/^Version: //p' "$OUT/layers/1-nginx/var/lib/dpkg/status")
configuration=(
	--ref nginx:latest --created 2024-05-03T19:49:21Z
	--env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	--env "NGINX_VERSION=$version"
	--entrypoint '["/docker-entrypoint.sh"]' --cmd '["nginx","-g","daemon off;"]'
	--config '"ExposedPorts":{"80/tcp":{}},"Labels":{"maintainer":"overlaid tests"},"StopSignal":"SIGQUIT"'
)
layers=("$base/root" "$OUT"/layers/*)
"$MKIMAGE" "$OUT/layout" "${configuration[@]}" "${layers[@]}"
"$MKIMAGE" "$OUT/docker-archive.tar" --docker-archive "${configuration[@]}" "${layers[@]}"
