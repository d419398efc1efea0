#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Bombs, streams and documents that hurt (tests/lib/attacks says what each does);
# what is asked of each, attacks.bats says.

load ../lib/common
load ../lib/behaviour
load ../lib/attacks

setup_file() {
	attacks_setup_file documents
}

setup() {
	attacks_setup
}

@test "each attack has its case here" {
	assert_each_has_a_case documents
}

@test "ratio-gzip" { attack; }
@test "ratio-gzip-below-the-limit" { attack; }
@test "ratio-zstd" { attack; }
@test "zstd-window-2g" { attack; }
@test "zstd-window-2t" { attack; }
@test "padding-flood" { attack; }
@test "padding-in-an-entry" { attack; }
@test "entries-without-end" { attack; }
@test "entries-of-one-name" { attack; }
@test "directories-without-entries" { attack; }
@test "image-of-large-layers" { attack; }
@test "layers-501" { attack; }
@test "size-2-to-the-63-minus-1" { attack; }
@test "size-over-the-limit" { attack; }
@test "size-negative" { attack; }
@test "size-negative-512" { attack; }
@test "size-in-pax-negative" { attack; }
@test "size-in-pax-beyond-64-bits" { attack; }
@test "size-of-what-has-no-contents" { attack; }
@test "pax-header-of-16m" { attack; }
@test "pax-header-of-a-gigabyte" { attack; }
@test "pax-headers-in-a-row" { attack; }
@test "pax-global-headers-in-a-row" { attack; }
@test "long-name-of-16m" { attack; }
@test "long-link-of-16m" { attack; }
@test "pax-length-that-lies" { attack; }
@test "sparse-map-old-gnu" { attack; }
@test "sparse-map-pax-0.1" { attack; }
@test "sparse-map-gnu-1.0" { attack; }
@test "sparse-map-that-announces-too-much" { attack; }
@test "sparse-size-2-to-the-62" { attack; }
@test "sparse-pieces-beyond-the-end" { attack; }
@test "sparse-pieces-overlap" { attack; }
@test "sparse-pieces-backwards" { attack; }
@test "sparse-offset-negative" { attack; }
@test "gzip-name-of-4m" { attack; }
@test "gzip-members-10000-empty" { attack; }
@test "gzip-in-gzip" { attack; }
@test "layer-of-xz" { attack; }
@test "archive-of-xz" { attack; }
@test "layer-of-bzip2" { attack; }
@test "archive-of-bzip2" { attack; }
@test "layer-of-lzma" { attack; }
@test "archive-of-lzma" { attack; }
@test "layer-that-is-a-zip" { attack; }
@test "digest-of-a-layer-a-path" { attack; }
@test "digest-of-a-config-a-path" { attack; }
@test "diff-id-a-path" { attack; }
@test "diff-id-a-path-of-64-bytes" { attack; }
@test "digest-of-a-manifest-a-path" { attack; }
@test "diff-id-upper-case" { attack; }
@test "diff-id-with-nul" { attack; }
@test "diff-id-with-newline" { attack; }
@test "reference-dotdot" { attack; }
@test "reference-absolute" { attack; }
@test "reference-nothing" { attack; }
@test "reference-newline" { attack; }
@test "docker-config-a-path" { attack; }
@test "docker-layer-a-path" { attack; }
@test "docker-layer-dotdot" { attack; }
@test "docker-tag-a-path" { attack; }
@test "docker-legacy-id-a-path" { attack; }
@test "archive-members-outside" { attack; }
@test "archive-member-a-symlink" { attack; }
@test "archive-member-a-hard-link" { attack; }
@test "layout-blob-a-link" { attack; }
@test "layout-blob-a-link-up" { attack; }
@test "layout-blob-a-link-by-proc" { attack; }
@test "layout-index-a-link" { attack; }
@test "layout-blob-a-fifo" { attack; }
@test "layout-index-a-fifo" { attack; }
@test "layout-blob-a-device" { attack; }
@test "manifest-and-index-in-one" { attack; }
@test "config-of-many-megabytes" { attack; }
@test "manifest-of-many-megabytes" { attack; }
@test "index-of-many-megabytes" { attack; }
@test "config-of-a-million-brackets" { attack; }
@test "manifest-of-a-million-brackets" { attack; }
@test "layer-to-be-fetched-from-elsewhere" { attack; }
