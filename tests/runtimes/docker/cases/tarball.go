// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/pkg/archive"
)

var then = time.Unix(1500000000, 0)

// What an entry of a tar is. Those of entry, file, dir and so on may be changed before they are written.
type entry struct {
	tar.Header
	text string
}

func named(kind byte, name string, mode int64) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: mode, ModTime: then}}
}

func file(name, text string) entry {
	e := named(tar.TypeReg, name, 0o644)
	e.Size, e.text = int64(len(text)), text
	return e
}

func dir(name string, mode int64) entry { return named(tar.TypeDir, name+"/", mode) }

func symlink(name, target string) entry {
	e := named(tar.TypeSymlink, name, 0o777)
	e.Linkname = target
	return e
}

func hardlink(name, target string) entry {
	e := named(tar.TypeLink, name, 0o644)
	e.Linkname = target
	return e
}

func (e entry) owned(uid, gid int) entry {
	e.Uid, e.Gid = uid, gid
	return e
}

func (e entry) pax(key, value string) entry {
	e.PAXRecords = map[string]string{key: value}
	return e
}

func (e entry) as(format tar.Format) entry {
	e.Format = format
	return e
}

// A tar of entries, with the zero blocks at its end.
func tarOf(entries ...entry) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		header := e.Header
		must(w.WriteHeader(&header))
		_, err := w.Write([]byte(e.text))
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

// Without them.
func unended(whole []byte) []byte {
	return whole[:len(whole)-1024]
}

// ---- headers that archive/tar does not write ----

type header struct {
	name, link, magic string
	kind              byte
	mode, uid, size   int64
	base256           bool
}

func octal(block []byte, value int64) {
	copy(block, fmt.Sprintf("%0*o", len(block)-1, value))
}

func base256(block []byte, value int64) {
	for i := len(block) - 1; i >= 0; i-- {
		block[i] = byte(value)
		value >>= 8
	}
	block[0] |= 0x80
}

// A block of 512 bytes.
func (h header) block() []byte {
	number := octal
	if h.base256 {
		number = base256
	}
	b := make([]byte, 512)
	copy(b[:100], h.name)
	number(b[100:108], h.mode)
	number(b[108:116], h.uid)
	number(b[116:124], h.uid)
	number(b[124:136], h.size)
	number(b[136:148], then.Unix())
	b[156] = h.kind
	copy(b[157:257], h.link)
	copy(b[257:265], h.magic)
	return summed(b)
}

func summed(b []byte) []byte {
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func padded(text string) []byte {
	return append([]byte(text), make([]byte, (512-len(text)%512)%512)...)
}

// A header with what follows it.
func (h header) with(text string) []byte {
	h.size = int64(len(text))
	return append(h.block(), padded(text)...)
}

const (
	ustar = "ustar\x0000"
	gnu   = "ustar  \x00"
)

var zeros = make([]byte, 1024)

func joined(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func record(key, value string) string {
	size := len(key) + len(value) + 3
	for {
		line := fmt.Sprintf("%d %s=%s\n", size, key, value)
		if len(line) == size {
			return line
		}
		size = len(line)
	}
}

// ---- what moby makes of it ----

// Applies a tar as moby does to a copy of a layer, and tells what that is then.
func (t *test) mobysTree(parent string, whole []byte, how looks) map[string]string {
	dir := t.copyOf(parent)
	_, err := archive.UnpackLayer(dir, bytes.NewReader(whole), nil)
	t.check(err == nil, "moby's archive package: %v", err)
	return t.list(dir, how)
}

// A tar makes of a layer what moby's archive package makes of it.
func (t *test) appliesAsMoby(parent string, whole []byte) string {
	return t.appliesLike(parent, whole, looks{})
}

func (t *test) appliesLike(parent string, whole []byte, how looks) string {
	id := t.layer(parent, whole)
	t.sameTree(t.mobysTree(parent, whole, how), t.tree(id, how), "applied")
	return id
}

// Names and contents that a layer must have, as "name=text"; "!name" must not be there.
func (t *test) has(id string, wants ...string) {
	root := t.get(id)
	defer t.put(id)
	lines := t.list(root, looks{})
	for _, want := range wants {
		if want[0] == '!' {
			_, ok := lines[want[1:]]
			t.check(!ok, "%q is there", want[1:])
			continue
		}
		at := strings.LastIndex(want, "=")
		t.check(t.textOf(root, want[:at]) == want[at+1:], "%q has %q, should be %q", want[:at], t.textOf(root, want[:at]), want[at+1:])
	}
}

func (t *test) textOf(root, name string) string {
	path := filepath.Join(root, name)
	info, err := os.Lstat(path)
	if err != nil {
		return err.Error()
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		t.must(err)
		return "-> " + target
	}
	if info.IsDir() {
		return fmt.Sprintf("directory %o", info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	t.must(err)
	return string(text)
}

// What GNU tar writes.
func (t *test) tarBy(words ...string) []byte {
	whole, err := exec.Command("tar", append([]string{"-c", "-f", "-"}, words...)...).Output()
	t.must(err)
	return whole
}
