#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Pulling from a registry that refuses, lies, or means harm: authorization, redirects, other bytes than promised,
# documents that hurt, TLS. tests/lib/sick.bash says what may come of it.

load ../lib/common
load ../lib/behaviour
load ../lib/registry
load ../lib/sick

setup_file() {
	sick_setup_file
}

setup() {
	sick_setup
}

teardown() {
	registries_end
	common_teardown
}

# ---- who may ----

@test "404: says what was asked for, and is not tried again" {
	sick
	gives_up "(not found|no such|unknown).*$NAME:nothing|$NAME:nothing.*(not found|no such|unknown|404)" "$NAME:nothing"
	assert_equal "$(requested '.path | test("manifests/nothing")')" 1
	gives_up "$REGISTRY/test/nobody" "$REGISTRY/test/nobody:1"
}

@test "404 of a blob: says which, and is not tried again" {
	sick "{$AT_LAYER, \"do\": \"status\", \"status\": 404, \"code\": \"BLOB_UNKNOWN\"}"
	gives_up "${LAYER:7:12}.*(not found|no such|unknown|404)|(not found|no such|unknown|404).*${LAYER:7:12}"
	assert_equal "$(requested "$OF_LAYER")" 1
}

@test "403: says so with the registry's reason, and is not tried again" {
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 403, \"code\": \"DENIED\", \"message\": \"pay first\"}"
	gives_up 'denied.*pay first|pay first.*denied|403.*pay first|pay first.*403'
	assert_equal "$(requested '.path | test("manifests")')" 1
}

@test "401 without credentials: says how to log in" {
	OPTIONS=(--basic tester:secret)
	sick
	gives_up 'login'
	anew
	OPTIONS=(--token tester:secret)
	sick
	gives_up 'login'
}

@test "401 with wrong credentials: says where they are from, and is not tried again" {
	local way
	for way in basic token; do
		OPTIONS=("--$way" tester:secret)
		sick
		gives_up 'command line' --creds tester:secretly-wrong
		jq -n --arg host "$REGISTRY" '{auths: {($host): {auth: ("tester:secretly-wrong" | @base64)}}}' >"$T/auth.json"
		gives_up "$T/auth.json" --authfile "$T/auth.json"
		[ "$(requested true)" -le 10 ] || fail "asked too often: $(requests true)"
		anew
	done
}

@test "401 for ever, whatever token or password is shown: given up soon" {
	local way
	local -A challenges=([basic]='Basic realm=\"tests\"'
		[token]='Bearer realm=\"{base}/token\",service=\"tests\",scope=\"repository:test/busybox:pull\"')
	for way in basic token; do
		OPTIONS=("--$way" tester:secret)
		sick "{$AT_MANIFEST, \"do\": \"status\", \"status\": 401,
			\"headers\": {\"WWW-Authenticate\": \"${challenges[$way]}\"}}"
		gives_up '401|unauthorized|credentials|login' --creds tester:secret
		[ "$(requested true)" -le 8 ] || fail "asked too often: $(requests true)"
		anew
	done
}

@test "401 without a word on how to authorize" {
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 401}"
	gives_up '401|unauthorized|login' --creds tester:secret
	anew
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 401, \"headers\": {\"WWW-Authenticate\": \"Negotiate ,=\\\"\"}}"
	gives_up '401|unauthorized|login|negotiate' --creds tester:secret
}

@test "a token that is no longer good in the middle of a blob: another one is asked for, and the rest fetched" {
	OPTIONS=(--token tester:secret --token-lives 1)
	sick "{$AT_LAYER, \"do\": \"cut\", \"at\": 300000, \"by\": \"reset\", \"times\": 1, \"revoke\": true}"
	gets_over_it --creds tester:secret
	assert_sent_at_most $((SIZE + SLACK)) "$OF_LAYER and .status < 300"
	[ "$(requested '.path == "/token"')" -ge 2 ] || fail "one token only"
	[ "$(requested '.path == "/token"')" -le 6 ] || fail "many tokens"
}

@test "a token server that is ill, for a while and for ever" {
	OPTIONS=(--token tester:secret)
	sick '{"path": "/token", "do": "status", "status": 503, "times": 2}'
	gets_over_it --creds tester:secret
	anew
	sick '{"path": "/token", "do": "status", "status": 500, "message": "no more tokens"}'
	gives_up 'token.*(500|no more tokens)' --creds tester:secret
}

# What a token server may say that is no token.
token_is() { # type, text
	OPTIONS=(--token tester:secret)
	printf '%s' "$2" >"$T/token"
	sick "{\"path\": \"/token\", \"do\": \"serve\", \"file\": \"$T/token\", \"type\": \"$1\"}"
	gives_up token --creds tester:secret
	anew
}

@test "a token server that gives no tokens" {
	token_is text/html '<html>Log in to the hotel network</html>'
	token_is application/json '{}'
	token_is application/json '{"token": 12}'
	token_is application/json '{"token": ""}'
	token_is application/json '["token"]'
}

@test "a token that would be more than a header" {
	token_is application/json '{"token": "a\r\nX-Injected: 1"}'
	token_is application/json '{"token": "a\u0000b"}'
	token_is application/json "{\"token\": \"$(printf 'x%.0s' {1..3000000})\"}"
}

@test "a token server that does not end" {
	OPTIONS=(--token tester:secret)
	sick '{"path": "/token", "do": "endless", "fill": " "}'
	gives_up 'token' --creds tester:secret
	assert_sent_at_most $((64 << 20)) '.path == "/token"'
}

# A challenge whose realm is not where credentials may go.
realm_is() { # realm, words
	OPTIONS=(--elsewhere-plain)
	sick "{\"path\": \"/v2/.*\", \"method\": \"GET|HEAD\", \"do\": \"status\", \"status\": 401, \"headers\":
		{\"WWW-Authenticate\": \"Bearer realm=\\\"$1\\\",service=\\\"tests\\\"\"}}"
	http_proxy=http://$(elsewhere) no_proxy=localhost,127.0.0.1 gives_up "$2" --creds tester:secret
	assert_equal "$(registry_log elsewhere-log)" ""
	anew
}

@test "a token server at plain HTTP on another host is told no password" {
	realm_is http://tokens.example.com/token 'http:|plain|insecure|TLS|https'
}

@test "a realm that is no web address" {
	realm_is file:///etc/passwd 'token server'
	realm_is ftp://127.0.0.2/token 'token server'
	realm_is //127.0.0.2/token 'token server'
	realm_is 'http://' 'token server'
}

# ---- redirects ----

# After a redirect to another host, what it was told of ours.
assert_nothing_told_elsewhere() {
	local log
	log=$(registry_log elsewhere-log)
	[ -n "$log" ] || fail "nobody was asked elsewhere"
	assert_equal "$(jq -r 'select(.authorization != null) | .path' <<<"$log")" ""
}

@test "redirected to another host: the blob comes from there, and no password or token goes there" {
	local way
	for way in basic token; do
		OPTIONS=("--$way" tester:secret --elsewhere)
		sick "{\"path\": \"$V2/blobs/.*\", \"do\": \"redirect\"}"
		gets_over_it --creds tester:secret
		assert_nothing_told_elsewhere
		assert_equal "$(registry_log elsewhere-log | jq -r .query | sort -u)" signature=good
		anew
	done
}

@test "redirected by each of the statuses that may" {
	local status
	for status in 301 302 303 307 308; do
		OPTIONS=(--elsewhere)
		sick "{$AT_LAYER, \"do\": \"redirect\", \"status\": $status}"
		gets_over_it
		anew
	done
}

@test "cut where it was redirected to: asked for again at the registry, for the rest" {
	OPTIONS=(--token tester:secret --elsewhere)
	sick "{$AT_LAYER, \"do\": \"redirect\"}" "{\"server\": \"elsewhere\", \"path\": \"/signed/$LAYER\", \"do\": \"cut\",
		\"at\": 300000, \"by\": \"reset\", \"times\": 2}"
	gets_over_it --creds tester:secret
	assert_nothing_told_elsewhere
	assert_equal "$(requested "$OF_LAYER")" 3
	assert_equal "$(registry_log elsewhere-log | jq -c '[.status, .fault]')" '[200,"cut"]
[206,"cut"]
[206,null]'
}

@test "redirected round and round: given up" {
	sick "{$AT_LAYER, \"do\": \"redirect\", \"to\": \"{base}{path}?again={number}\"}"
	gives_up 'redirect|led on more than' --retry 0
	[ "$(requested "$OF_LAYER")" -le 30 ] || fail "followed $(requested "$OF_LAYER") times"
}

@test "redirected from HTTPS to HTTP: not followed" {
	make_certificate "$CA" redirecting "$LOOPBACK_NAMES"
	OPTIONS=(--tls "$CA/redirecting.crt" "$CA/redirecting.key" --elsewhere-plain)
	sick "{$AT_LAYER, \"do\": \"redirect\"}"
	gives_up 'from https to http' --cert-dir "$FILE/trust" --retry 0
	assert_equal "$(registry_log elsewhere-log)" ""
}

@test "redirected to what is no web address, or to nothing: not followed" {
	local to
	for to in file:///bin/busybox "ftp://127.0.0.2/x" "gopher://127.0.0.2:1/x" "" "http://[::"; do
		sick "{$AT_LAYER, \"do\": \"redirect\", \"to\": \"$to\"}"
		gives_up 'layer sha256' --retry 0
		anew
	done
}

# ---- bytes that are others ----

@test "a bit of a blob is another one: refused, and nothing of it kept" {
	sick "{$AT_LAYER, \"do\": \"flip\", \"at\": 500000}"
	gives_up "${LAYER:7:12}.*(digest|damaged|corrupt|sha256|invalid)"
	# Also one that makes no difference to what is unpacked: the time in gzip's header.
	anew
	sick "{$AT_LAYER, \"do\": \"flip\", \"at\": 5}"
	run --separate-stderr pull
	assert_missing "$ROOT/partial/${LAYER#*:}"
	assert_given_up "digest.*${LAYER:7:12}"
}

@test "a bit of a configuration is another one: refused" {
	sick "{$AT_CONFIG, \"do\": \"flip\", \"at\": 20}"
	gives_up "${CONFIG:7:12}.*digest|digest.*${CONFIG:7:12}"
}

@test "by digest, a manifest that has another digest: refused" {
	changed '.annotations = {a: "b"}' >"$T/manifest"
	sick "$(instead "$T/manifest" "$OCI_MANIFEST")"
	gives_up "${MANIFEST:7:12}.*digest|digest.*${MANIFEST:7:12}" "$NAME@$MANIFEST"
}

@test "of an index, a manifest that has another digest: refused" {
	jq -c 'del(.manifests[].annotations)' "$LAYOUT/index.json" >"$T/index"
	changed '.annotations = {a: "b"}' >"$T/manifest"
	sick "{$AT_TAG, \"do\": \"serve\", \"file\": \"$T/index\", \"type\": \"$OCI_INDEX\"}" \
		"{\"path\": \"$V2/manifests/sha256.*\", \"do\": \"serve\", \"file\": \"$T/manifest\", \"type\": \"$OCI_MANIFEST\"}"
	gives_up "${MANIFEST:7:12}.*(digest|bytes)"
}

@test "a header with another digest than the manifest has is not believed" {
	sick "{$AT_MANIFEST, \"do\": \"headers\", \"headers\": {\"Docker-Content-Digest\": \"sha256:$(printf '%064d' 0)\"}}"
	run --separate-stderr pull
	if [ "$status" = 0 ]; then
		assert_contains "$output" "Digest: $MANIFEST"
		assert_whole
	else
		assert_given_up digest
	fi
	anew
	# None at all is no fault.
	sick "{\"path\": \"/v2/.*\", \"method\": \"GET|HEAD\", \"do\": \"headers\", \"headers\":
		{\"Docker-Content-Digest\": null, \"ETag\": null, \"Accept-Ranges\": null}}"
	gets_over_it
}

@test "a blob shorter than its descriptor says: refused" {
	sick "{$AT_LAYER, \"do\": \"length\", \"by\": -10}"
	gives_up "${LAYER:7:12}.*(size|length|bytes|short)"
}

@test "a blob longer than its descriptor says: refused" {
	sick "{$AT_LAYER, \"do\": \"length\", \"by\": 10}"
	gives_up "${LAYER:7:12}.*(size|length|bytes|long)"
}

@test "a configuration shorter or longer than its descriptor says: refused" {
	local by
	for by in -10 10 10000000; do
		sick "{$AT_CONFIG, \"do\": \"length\", \"by\": $by}"
		gives_up "${CONFIG:7:12}.*(size|length|bytes|short|long)"
		anew
	done
}

@test "a blob of which nobody says how long it is: taken if it is right" {
	sick "{\"path\": \"$V2/.*\", \"do\": \"chunked\"}"
	gets_over_it
}

@test "a blob without end: no more is read than there should be" {
	sick "{$AT_LAYER, \"do\": \"endless\"}"
	gives_up "${LAYER:7:12}.*(size|length|bytes|long|more)" --retry 0
	# What the kernels hold on the way is sent too.
	assert_sent_at_most $((SIZE + (16 << 20))) "$OF_LAYER"
	anew
	sick "{$AT_CONFIG, \"do\": \"endless\"}"
	gives_up "${CONFIG:7:12}.*(size|length|bytes|long|more)" --retry 0
}

# ---- documents ----

@test "a manifest of more than 4 MiB: refused, and no more of it read" {
	changed ".annotations = {a: (\"x\" * 5000000)}" >"$T/manifest"
	sick "$(instead "$T/manifest" "$OCI_MANIFEST")"
	gives_up 'manifest.*(large|big|long|MiB|MB|bytes|limit)|(large|big|long|limit).*manifest'
	anew
	sick "{$AT_TAG, \"do\": \"endless\", \"fill\": \" \"}"
	gives_up 'manifest.*(large|big|long|MiB|MB|bytes|limit)|(large|big|long|limit).*manifest' --retry 0
	assert_sent_at_most $((32 << 20)) '.path | test("manifests")'
}

@test "a manifest with a million layers: refused" {
	changed '.layers = [range(1000000) | {}]' >"$T/manifest"
	sick "$(instead "$T/manifest" "$OCI_MANIFEST")"
	timed gives_up 'manifest.*(too many|layers)'
	[ "$MS" -lt 15000 ] || fail "took $MS ms"
}

@test "a manifest with a thousand layers: refused by the limit, and says its name" {
	changed '.layers[0] as $l | .layers = [range(1000) | $l]' >"$T/manifest"
	sick "$(instead "$T/manifest" "$OCI_MANIFEST")"
	gives_up 'layers'
	assert_equal "$(requested "$OF_LAYER")" 0
}

@test "a manifest that is not JSON" {
	local text
	for text in '' 'not JSON' '{"schemaVersion": 2' '[]' 'null' '{}' '"\ud800' '{"schemaVersion": 2} {}' \
		"$(printf '[%.0s' {1..100000})"; do
		printf '%s' "$text" >"$T/manifest"
		sick "$(instead "$T/manifest" "$OCI_MANIFEST")"
		gives_up 'manifest|JSON|layers|config'
		anew
	done
}

@test "a page of a hotel network instead of a manifest: says what came" {
	echo '<html><title>Welcome</title></html>' >"$T/page"
	sick "{\"path\": \"/v2/.*\", \"do\": \"serve\", \"file\": \"$T/page\", \"type\": \"text/html\"}"
	gives_up 'text/html'
}

@test "a manifest of schema 1: refused by name" {
	jq -nc '{schemaVersion: 1, name: "test/busybox", tag: "latest", architecture: "amd64",
		fsLayers: [{blobSum: "sha256:0"}], history: [{v1Compatibility: "{}"}]}' >"$T/manifest"
	sick "$(instead "$T/manifest" application/vnd.docker.distribution.manifest.v1+prettyjws)"
	gives_up 'schema ?(version)? ?1|manifest.v1|version 1'
}

@test "an artifact that is no image: said what it is" {
	changed '.config.mediaType = "application/vnd.cncf.helm.config.v1+json"
		| .layers[0].mediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"' >"$T/chart"
	sick "$(instead "$T/chart" "$OCI_MANIFEST")"
	gives_up 'application/vnd\.cncf\.helm\.config\.v1\+json'
	assert_equal "$(requested "$OF_LAYER")" 0
	anew
	# The digest of "{}".
	changed '.artifactType = "application/vnd.example.sbom" | .config = {mediaType: "application/vnd.oci.empty.v1+json",
		size: 2, digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}' >"$T/sbom"
	sick "$(instead "$T/sbom" "$OCI_MANIFEST")"
	gives_up 'application/vnd\.example\.sbom'
}

@test "an index without an image for this machine: says which there are" {
	jq -c '.manifests[0].platform = {os: "plan9", architecture: "mips"} | del(.manifests[].annotations)' \
		"$LAYOUT/index.json" >"$T/index"
	sick "$(instead "$T/index" "$OCI_INDEX")"
	gives_up 'plan9/mips'
}

@test "an index with nothing in it" {
	jq -nc "{schemaVersion: 2, mediaType: \"$OCI_INDEX\", manifests: []}" >"$T/index"
	sick "$(instead "$T/index" "$OCI_INDEX")"
	gives_up 'index|platform|manifests|linux'
}

@test "indexes in indexes, deeper than anyone needs: refused" {
	local hex
	cp -r "$LAYOUT" "$T/deep"
	jq -c 'del(.manifests[].annotations)' "$LAYOUT/index.json" >"$T/index"
	for _ in {1..20}; do
		hex=$(sha256sum <"$T/index" | cut -d ' ' -f 1)
		cp "$T/index" "$T/deep/blobs/sha256/$hex"
		jq -nc --arg digest "sha256:$hex" --argjson size "$(stat -c %s "$T/index")" --arg type "$OCI_INDEX" \
			--argjson platform "$(jq '.manifests[0].platform' "$LAYOUT/index.json")" '{schemaVersion: 2,
			mediaType: $type, manifests: [{mediaType: $type, $digest, $size, $platform}]}' >"$T/index"
	done
	jq -c '.manifests[0].annotations = {"org.opencontainers.image.ref.name": "latest"}' "$T/index" >"$T/deep/index.json"
	LAYOUT=$T/deep
	sick
	gives_up 'index|nest|deep'
	[ "$(requested true)" -le 15 ] || fail "asked $(requested true) times"
}

@test "an index that is a manifest too: refused" {
	changed ".manifests = [{mediaType: \"$OCI_MANIFEST\", digest: \"$MANIFEST\",
		size: $(manifest "$LAYOUT" | wc -c)}]" >"$T/both"
	sick "$(instead "$T/both" "$OCI_MANIFEST")"
	gives_up 'manifests|both|index'
	anew
	sick "$(instead "$T/both" "$OCI_INDEX")"
	gives_up 'layers|both|index|config'
}

@test "a media type in the header that is another one than in the document: refused" {
	changed '.mediaType = "application/vnd.oci.image.index.v1+json"' >"$T/manifest"
	sick "$(instead "$T/manifest" "$OCI_MANIFEST")"
	gives_up 'media ?type|index|manifest'
}

@test "digests and sizes that are none" {
	local change
	for change in '.layers[0].digest = "sha256:../../../../etc/passwd"' \
		'.layers[0].digest = "md5:d41d8cd98f00b204e9800998ecf8427e"' \
		'.config.digest = "sha256:" + ("A" * 64)' '.layers[0].size = -1' '.layers[0].size = 1e300' '.config.size = 1e12' \
		'.layers[0].size = "many"' 'del(.config.digest)' 'del(.layers)' '.config = []'; do
		changed "$change" >"$T/manifest"
		sick "$(instead "$T/manifest" "$OCI_MANIFEST")"
		gives_up 'digest|size|config|layers|manifest'
		anew
	done
}

@test "a layer that inflates beyond the limit: refused, by the limit's name" {
	truncate -s 64M "$T/zeros"
	tar -C "$T" -cf "$T/zeros.tar" zeros
	mkimage "$T/bomb" --ref localhost/busybox:latest "$T/zeros.tar"
	use_layout "$T/bomb"
	sick
	gives_up layer-bytes --limit layer-bytes=1M
	gives_up file-bytes --limit file-bytes=1M
}

@test "more layers in the configuration than in the manifest" {
	changed '.layers += .layers' >"$T/manifest"
	sick "$(instead "$T/manifest" "$OCI_MANIFEST")"
	gives_up 'layers'
}

@test "a layer that may not be distributed: refused unless allowed, and then from where it is" {
	make_certificate "$CA" both "$LOOPBACK_NAMES"
	OPTIONS=(--tls "$CA/both.crt" "$CA/both.key" --elsewhere --token tester:secret)
	sick "$(instead "$T/foreign" "$OCI_MANIFEST")" "{$AT_LAYER, \"do\": \"status\", \"status\": 404}"
	changed ".layers[0] += {mediaType: \"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip\",
		urls: [\"https://$(elsewhere)/signed/$LAYER?signature=good\"]}" >"$T/foreign"
	gives_up 'foreign|distribut' --creds tester:secret --cert-dir "$FILE/trust"
	assert_equal "$(registry_log elsewhere-log)" ""
	gets_over_it --allow-foreign-layers --creds tester:secret --cert-dir "$FILE/trust"
	assert_nothing_told_elsewhere
}

@test "a layer that may not be distributed is not fetched over plain HTTP, nor from a file" {
	local url
	OPTIONS=(--elsewhere-plain)
	sick "$(instead "$T/foreign" "$OCI_MANIFEST")" "{$AT_LAYER, \"do\": \"status\", \"status\": 404}"
	for url in "http://$(elsewhere)/signed/$LAYER?signature=good" "file://$LAYOUT/blobs/sha256/${LAYER#*:}"; do
		changed ".layers[0] += {mediaType: \"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip\",
			urls: [\"$url\"]}" >"$T/foreign"
		gives_up 'layer sha256' --allow-foreign-layers
	done
	assert_equal "$(registry_log elsewhere-log)" ""
}

@test "tags without end, and pages that go round" {
	sick "{\"path\": \"$V2/tags/list\", \"do\": \"endless\", \"fill\": \" \"}"
	gives_up 'tags' --retry 0 --all-tags "$NAME"
	anew
	sick "{\"path\": \"$V2/tags/list\", \"do\": \"headers\", \"headers\":
		{\"Link\": \"<$V2/tags/list?last=latest>; rel=\\\"next\\\"\"}}"
	gets_over_it_or_gives_up 'tags' --all-tags "$NAME"
	[ "$(requested '.path | test("tags/list")')" -le 10000 ] || fail "asked for ever"
}

@test "tags that are none" {
	local tag
	for tag in '../x' 'a b' '"' '' '-a' "$(printf 'a%.0s' {1..129})"; do
		jq -nc --arg tag "$tag" '{name: "test/busybox", tags: [$tag]}' >"$T/tags"
		sick "{\"path\": \"$V2/tags/list\", \"do\": \"serve\", \"file\": \"$T/tags\", \"type\": \"application/json\"}"
		gives_up 'tag|reference' --all-tags "$NAME"
		anew
	done
	jq -nc '{name: "test/busybox", tags: ["a b", "latest"]}' >"$T/tags"
	sick "{\"path\": \"$V2/tags/list\", \"do\": \"serve\", \"file\": \"$T/tags\", \"type\": \"application/json\"}"
	succeeds ov pull --progress plain --all-tags "$NAME"
	assert_contains "$output" 'a b'
	assert_equal "$(ov images --format '{{.Tag}}')" latest
}

# ---- TLS ----

# The registry with a certificate; what is wrong with it is said, plain HTTP is not tried instead.
assert_certificate_refused() { # certificate and key without suffix, words, pull's options
	OPTIONS=(--tls "$1.crt" "$1.key")
	sick
	gives_up "$2" "${@:3}" --retry 0
	assert_equal "$(requested true)" 0
}

@test "a certificate for another name: refused" {
	make_certificate "$CA" other DNS:registry.example.com
	assert_certificate_refused "$CA/other" 'certificate.*(name|localhost|match)|(name|localhost|match).*certificate' \
		--cert-dir "$FILE/trust"
}

@test "a certificate that has expired, or is not yet good: refused" {
	make_certificate "$CA" expired "$LOOPBACK_NAMES" -startdate 20200101000000Z -enddate 20200201000000Z
	assert_certificate_refused "$CA/expired" 'certificate.*expired' --cert-dir "$FILE/trust"
	anew
	make_certificate "$CA" early "$LOOPBACK_NAMES" -startdate 20900101000000Z -enddate 20900201000000Z
	assert_certificate_refused "$CA/early" 'certificate.*not yet valid' --cert-dir "$FILE/trust"
}

@test "a certificate nobody vouches for: refused, and says what helps" {
	make_self_signed "$T/self" self "$LOOPBACK_NAMES"
	assert_certificate_refused "$T/self/self" 'certificate.*(cert-dir|certs\.d|tls-verify)|self.signed'
	gets_over_it --tls-verify=false
}

@test "a certificate of an authority that is not known: refused; with --cert-dir it is" {
	make_certificate "$CA" unknown "$LOOPBACK_NAMES"
	assert_certificate_refused "$CA/unknown" 'certificate'
	gets_over_it --cert-dir "$FILE/trust"
}

@test "where it redirects to must show a certificate of its own" {
	make_certificate "$CA" first DNS:localhost,IP:127.0.0.1
	OPTIONS=(--tls "$CA/first.crt" "$CA/first.key" --elsewhere)
	sick "{$AT_LAYER, \"do\": \"redirect\"}"
	gives_up 'certificate' --cert-dir "$FILE/trust" --retry 0
	assert_equal "$(registry_log elsewhere-log)" ""
}

@test "passwords are not sent before the certificate is good" {
	make_self_signed "$T/self" self "$LOOPBACK_NAMES"
	OPTIONS=(--tls "$T/self/self.crt" "$T/self/self.key" --basic tester:secret)
	sick
	gives_up certificate --retry 0 --creds tester:secret
	assert_equal "$(requested true)" 0
}
