# SPDX-License-Identifier: Apache-2.0
#
# Registries on the loopback interface, for tests of what speaks to them; loaded after common and behaviour.
#
# Two kinds: docker-registry, as a distribution packages it, and the scripted one (tests/lib/registry.py), which plays
# faults and counts what it sends. Both choose a free port, are children of the shell that starts them (so not within
# "run" or "$(...)"), and end with it at the latest. registries_end ends all that this shell started.
#
# The address of what was started last is in $REGISTRY ("localhost:12345"), its directory in $REGISTRY_DIR.

SERVERS=()

REGISTRY_TOOLS=(skopeo jq python3 openssl setpriv)

need_registry() { # command...
	need_root
	need "${REGISTRY_TOOLS[@]}" "$@"
}

# For setup_file, which cannot skip: the tests do.
have_registry() { # command...
	[ "$(id -u)" = 0 ] && command -v "${REGISTRY_TOOLS[@]}" "$@" >/dev/null
}

# What the machine is configured to do with registries is nothing to us. Call it in setup, and in setup_file with
# the file's directory.
registry_environment() { # [directory]
	local name directory=${1-$BATS_TEST_TMPDIR}
	while read -r name; do unset "$name"; done < <(compgen -e | grep -iE '^(https?|all|no)_proxy$')
	unset REGISTRY_AUTH_FILE DOCKER_CONFIG XDG_CONFIG_HOME SSL_CERT_FILE SSL_CERT_DIR
	export HOME=$directory/home XDG_RUNTIME_DIR=$directory/runtime
	export CONTAINERS_REGISTRIES_CONF=$directory/registries.conf
	mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
	: >"$CONTAINERS_REGISTRIES_CONF"
}

# ---- starting and ending ----

# Waits until a command succeeds: as long as it may take on a machine that has other things to do.
eventually() { # command...
	local end=$((SECONDS + 30))
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "never came true: $*" || return 1
		sleep 0.02
	done
}

# A child's exit status; it is killed if it takes too long.
wait_at_most() { # seconds, pid
	local end=$((SECONDS + $1))
	while kill -0 "$2" 2>/dev/null && [[ $(ps -o stat= -p "$2") != Z* ]]; do
		if [ $SECONDS -ge $end ]; then
			kill -KILL "$2"
			echo "process $2 does not end"
		fi
		sleep 0.02
	done
	wait "$2"
}

# What it says goes to DIRECTORY/output, its process id to DIRECTORY/pid.
start_server() { # directory, command...
	local directory=$1
	shift
	"$@" </dev/null >"$directory/output" 2>&1 3>&- 4>&- &
	echo $! >"$directory/pid"
	SERVERS+=("$directory")
}

# Waits until a command succeeds; fails when the server of this directory ends before.
until_served() { # directory, command...
	eventually served_or_dead "$@"
	"${@:2}" || fail "the server ended: $(cat "$1/output")"
}

served_or_dead() { # directory, command...
	"${@:2}" || ! kill -0 "$(<"$1/pid")" 2>/dev/null
}

registries_end() {
	local directory pid
	for directory in "${SERVERS[@]}"; do
		pid=$(<"$directory/pid")
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		rm "$directory/pid"
	done
	SERVERS=()
}

# ---- docker-registry ----

# docker-registry with its configuration in the environment (REGISTRY_HTTP_TLS_KEY=...); several may have one STORAGE.
start_docker_registry() { # new directory, NAME=VALUE...
	local directory=$1 storage=${STORAGE-$1/storage}
	shift
	mkdir -p "$directory" "$storage"
	cat >"$directory/config.yml" <<-END
		version: 0.1
		log: {level: info, formatter: json, accesslog: {disabled: false}}
		storage: {filesystem: {rootdirectory: $storage}}
		http: {addr: 127.0.0.1:0}
	END
	start_server "$directory" env -u REGISTRY -u REGISTRY_DIR -u REGISTRY_AUTH_FILE OTEL_TRACES_EXPORTER=none "$@" \
		setpriv --pdeathsig TERM docker-registry serve "$directory/config.yml"
	until_served "$directory" grep -q 'listening on' "$directory/output"
	REGISTRY=localhost:$(sed -nE 's/.*listening on 127\.0\.0\.1:([0-9]+).*/\1/p' "$directory/output")
	REGISTRY_DIR=$directory
}

# How often docker-registry was asked, by its access log.
docker_requests() { # directory, extended regular expression of "METHOD /path"
	grep -cE "\"$2[^\"]* HTTP/" "$1/output" || true
}

# htpasswd -nbB tester secret: docker-registry takes bcrypt only, which few programs can make.
tester_htpasswd() {
	# shellcheck disable=SC2016 # no variables
	echo 'tester:$2b$05$bQ.WlOpFAgJqp0yat9urgu2W21IpR3lmRu0u7nmAfcuB3CylbcAnm'
}

# ---- the scripted registry ----

# tests/lib/registry.py with its options.
start_registry() { # new directory, option...
	local directory=$1
	shift
	mkdir -p "$directory"
	start_server "$directory" python3 -B "$TOP/tests/lib/registry.py" "$directory" "$@"
	until_served "$directory" test -e "$directory/port"
	REGISTRY=localhost:$(<"$directory/port") REGISTRY_DIR=$directory
}

# Faults for it, each a JSON object: start_registry DIR --faults "$(faults '{"path": ...}' ...)"
faults() { # fault...
	local file
	file=$(mktemp "$BATS_TEST_TMPDIR/faults.XXXXXX")
	printf '%s\n' "$@" | jq -s . >"$file"
	echo "$file"
}

# What the last one was asked: all requests that a jq expression chooses, "METHOD path status".
requests() { # expression
	registry_log log | jq -r "select($1) | \"\\(.method) \\(.path) \\(.status)\""
}

requested() { # expression: how often
	requests "$1" | wc -l
}

# The bytes of bodies that were sent.
sent_bytes() { # expression
	registry_log log | jq -s "map(select($1) | .sent) | add // 0"
}

# A log of the last one, log or elsewhere-log, when what is under way is over, and so in it.
registry_log() {
	if [ -e "$REGISTRY_DIR/pid" ]; then
		rm -f "$REGISTRY_DIR/settled"
		kill -USR1 "$(<"$REGISTRY_DIR/pid")"
		eventually test -e "$REGISTRY_DIR/settled"
	fi
	cat "$REGISTRY_DIR/$1"
}

# What was asked so far is in no log any more.
forget_requests() {
	registry_log log >/dev/null
	: >"$REGISTRY_DIR/log"
	[ ! -e "$REGISTRY_DIR/elsewhere-log" ] || : >"$REGISTRY_DIR/elsewhere-log"
}

elsewhere() { # the address of the second server
	echo "127.0.0.2:$(<"$REGISTRY_DIR/elsewhere-port")"
}

# ---- images in them ----

# By skopeo, from a layout's only image, to $REGISTRY; PUSH_OPTIONS more options for skopeo.
push() { # layout[:tag], name:tag
	local layout=$1
	[[ ${layout##*/} == *:* ]] ||
		layout+=:$(jq -er '.manifests[0].annotations["org.opencontainers.image.ref.name"]' "$layout/index.json")
	# shellcheck disable=SC2086 # several options
	skopeo --insecure-policy copy --quiet --dest-tls-verify=false ${PUSH_OPTIONS-} "oci:$layout" "docker://$REGISTRY/$2"
}

# ---- certificates ----

# An authority: DIRECTORY/ca.crt and ca.key.
make_authority() { # directory
	mkdir -p "$1"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=an authority of tests" \
		-addext basicConstraints=critical,CA:TRUE -keyout "$1/ca.key" -out "$1/ca.crt" 2>"$1/ca.log"
}

# Whom certificates are for, where they are good.
export LOOPBACK_NAMES=DNS:localhost,IP:127.0.0.1,IP:127.0.0.2

# NAME.crt and NAME.key, signed by the directory's authority, for the names given.
make_certificate() { # directory, name, names it is for, option of openssl-ca...
	local directory=$1 name=$2
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -addext "subjectAltName=$3" \
		-keyout "$directory/$name.key" -out "$directory/$name.csr" 2>"$directory/$name.log"
	shift 3
	: >"$directory/$name.index"
	cat >"$directory/$name.cnf" <<-END
		[ca]
		default_ca = here
		[here]
		database = $directory/$name.index
		new_certs_dir = $directory
		certificate = $directory/ca.crt
		private_key = $directory/ca.key
		rand_serial = yes
		default_md = sha256
		default_days = 2
		policy = any
		copy_extensions = copy
		unique_subject = no
		[any]
		commonName = supplied
	END
	openssl ca -batch -notext -config "$directory/$name.cnf" "$@" -in "$directory/$name.csr" \
		-out "$directory/$name.crt" 2>>"$directory/$name.log"
}

# One that vouches for itself; RSA, as docker-registry wants it of those who sign tokens.
make_self_signed() { # directory, name, names it is for
	mkdir -p "$1"
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$2" -addext "subjectAltName=$3" \
		-keyout "$1/$2.key" -out "$1/$2.crt" 2>"$1/$2.log"
}
