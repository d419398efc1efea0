// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

var dialectCases = []testCase{
	{name: "tar/v7", run: tarV7},
	{name: "tar/ustar", run: tarUstar},
	{name: "tar/gnu-long-names", run: tarGnu},
	{name: "tar/pax", run: tarPax},
	{name: "tar/pax-global-is-ignored", run: tarGlobal},
	{name: "tar/base-256", run: tarBase256},
	{name: "tar/sparse-pax", run: tarSparse("posix")},
	{name: "tar/sparse-gnu", run: tarSparse("gnu"), not: "moby knows no type 'S'"},
	{name: "tar/type-0-and-7", run: tarTypes},
	{name: "tar/type-7", run: tarContiguous, not: "moby knows no type '7'"},
	{name: "tar/empty", run: tarEmpty},
	{name: "tar/without-zero-blocks", run: tarUnended},
	{name: "tar/bytes-after-the-end", run: tarTrailing},
	{name: "tar/bad-checksum-is-refused", run: tarBadChecksum},
	{name: "tar/garbage-is-refused", run: tarGarbage},
	{name: "tar/absurd-sizes-are-refused", run: tarAbsurd},
}

func tarV7(t *test) {
	t.appliesAsMoby("", joined(
		header{name: "d/", kind: '5', mode: 0o750, uid: 12}.block(), header{name: "d/f", kind: 0, mode: 0o640, uid: 3}.with("text"),
		header{name: "h", kind: '1', link: "d/f", mode: 0o640, uid: 3}.block(), header{name: "s", kind: '2', link: "d", mode: 0o777}.block(),
		header{name: strings.Repeat("x", 100), kind: 0, mode: 0o600}.with("100"), zeros))
}

func tarUstar(t *test) {
	long := header{name: "end", kind: '0', mode: 0o644, magic: ustar}
	block := long.block()
	copy(block[345:500], strings.Repeat("p", 70)+"/"+strings.Repeat("q", 70))
	id := t.appliesLike("", joined(
		summed(block), header{name: "latin \xe4", kind: '0', mode: 0o644, magic: ustar}.with("x"), zeros), looks{noDirs: true})
	t.has(id, strings.Repeat("p", 70)+"/"+strings.Repeat("q", 70)+"/end=", "latin \xe4=x")
}

func tarGnu(t *test) {
	name := strings.Repeat("long/", 50) + "end"
	link := func(kind byte, text string) []byte {
		return header{name: "././@LongLink", kind: kind, magic: gnu}.with(text + "\x00")
	}
	id := t.appliesLike("", joined(
		link('L', name), header{name: name[:100], kind: '0', mode: 0o644, magic: gnu}.with("x"),
		link('K', name), link('L', name+"-link"), header{name: name[:100], link: name[:100], kind: '2', mode: 0o777, magic: gnu}.block(),
		link('L', name+"-hard"), link('K', name), header{name: "short", link: "short", kind: '1', mode: 0o644, magic: gnu}.block(),
		header{name: "after", kind: '0', mode: 0o644, magic: gnu}.with("y"), zeros), looks{noDirs: true})
	t.has(id, name+"=x", name+"-link=-> "+name, name+"-hard=x", "after=y")
}

func tarPax(t *test) {
	name := strings.Repeat("ünï/", 80) + "end"
	pax := func(records ...string) []byte {
		return header{name: "PaxHeaders/x", kind: 'x', mode: 0o644, magic: ustar}.with(strings.Join(records, ""))
	}
	short := header{name: "short", link: "short", mode: 0o644, magic: ustar}
	regular, sym := short, short
	regular.kind, sym.kind = '0', '2'
	sized := header{name: "sized", kind: '0', mode: 0o644, magic: ustar}.block() // whose size is in the record
	id := t.appliesLike("", joined(
		pax(record("path", name), record("uid", "3000000"), record("gid", "4000000"), record("mtime", "1400000000.25"),
			record("comment", "ignored"), record("VENDOR.key", "a\x00b\nc")), regular.with("x"),
		pax(record("path", "link"), record("linkpath", name)), sym.block(),
		pax(record("size", "4")), sized, padded("four"),
		header{name: "after", kind: '0', mode: 0o644, magic: ustar}.with("y"), zeros), looks{noDirs: true})
	t.has(id, name+"=x", "link=-> "+name, "sized=four", "after=y")
}

// What git archive writes. It makes no file, also no directory for one.
func tarGlobal(t *test) {
	global := header{name: "pax_global_header/of/git", kind: 'g', mode: 0o666, magic: ustar}.with(record("comment", "0123456789abcdef"))
	id := t.layer("", joined(global, header{name: "f", kind: '0', mode: 0o644, magic: ustar}.with("x"), global, zeros))
	t.has(id, "f=x", "!pax_global_header", "!pax_global_header/of")
}

func tarBase256(t *test) {
	block := header{name: "f", kind: '0', mode: 0o644, uid: 1 << 31, size: 5, base256: true, magic: gnu}.block()
	t.appliesAsMoby("", joined(block, padded("hello"), zeros))
	for _, size := range []int64{-1, -512, 1<<63 - 1} {
		block := header{name: "f", kind: '0', mode: 0o644, size: size, base256: true, magic: gnu}.block()
		if size < 0 {
			for i := 124; i < 128; i++ {
				block[i] = 0xff
			}
			block = summed(block)
		}
		t.refusesTar("", joined(block, padded("hello"), zeros), fmt.Sprintf("a file of %d bytes", size))
	}
}

// As GNU tar writes it.
func tarSparse(format string) func(*test) {
	return func(t *test) {
		dir := t.copyOf("")
		f, err := os.Create(filepath.Join(dir, "holes"))
		t.must(err)
		for i := int64(0); i < 30; i++ { // more than fit into one header
			_, err = f.WriteAt([]byte(fmt.Sprintf("piece %d", i)), i<<20+4096*(i%3))
			t.must(err)
		}
		t.must(f.Truncate(40 << 20))
		t.must(f.Close())
		t.must(os.WriteFile(filepath.Join(dir, "z"), []byte("after"), 0o644))
		t.must(os.Chtimes(dir, then, then))
		id := t.layer("", t.tarBy("--sparse", "--format="+format, "-C", dir, "holes", "z"))
		t.sameTree(t.list(dir, looks{}), t.tree(id, looks{}), "a file with holes")
		t.check(t.diffSize(id, "") == 40<<20+5, "DiffSize is %d", t.diffSize(id, ""))
	}
}

func tarTypes(t *test) {
	id := t.appliesAsMoby("", joined(
		header{name: "null", kind: 0, mode: 0o644, magic: ustar}.with("a"), header{name: "zero", kind: '0', mode: 0o644, magic: ustar}.with("b"),
		header{name: "old-directory/", kind: 0, mode: 0o755}.block(), zeros))
	t.has(id, "null=a", "zero=b", "old-directory=directory 755")
}

func tarContiguous(t *test) {
	id := t.layer("", joined(header{name: "seven", kind: '7', mode: 0o644, magic: ustar}.with("text"),
		header{name: "after", kind: '0', mode: 0o644, magic: ustar}.with("y"), zeros))
	t.has(id, "seven=text", "after=y")
}

func tarEmpty(t *test) {
	for _, whole := range [][]byte{zeros, append(zeros, make([]byte, 9216)...)} {
		id := t.layer("", whole)
		t.check(len(t.tree(id, looks{})) == 0 && t.diffSize(id, "") == 0, "it is not empty")
		base, _ := t.stack()
		t.has(t.layer(base, whole), "base=base")
	}
}

func tarUnended(t *test) {
	whole := tarOf(dir("d", 0o755), file("d/f", strings.Repeat("x", 1024)), file("end", "end"))
	t.has(t.layer("", unended(whole)), "end=end")
	t.has(t.layer("", unended(append(unended(whole), zeros[:512]...))[:len(whole)-1024]), "end=end")
}

// The body is read to its end, and the connection goes on.
func tarTrailing(t *test) {
	whole := tarOf(file("f", "x"))
	garbage := make([]byte, 3<<20)
	rand.New(rand.NewSource(*seed)).Read(garbage)
	for _, after := range [][]byte{garbage, zeros[:100], make([]byte, 20<<20), tarOf(file("hidden", "y"))} {
		id := t.layer("", append(append([]byte{}, whole...), after...))
		t.has(id, "f=x", "!hidden")
	}
	t.check(atomic.LoadInt64(&t.plugin.Dials) == 1, "it took %d connections", t.plugin.Dials)
}

func tarBadChecksum(t *test) {
	whole := tarOf(file("a", "a"), file("b", "b"))
	whole[1024+20] ^= 1
	t.refusesTar("", whole, "a header with a wrong checksum")
}

func tarGarbage(t *test) {
	garbage := make([]byte, 100000)
	rand.New(rand.NewSource(*seed)).Read(garbage)
	t.refusesTar("", garbage, "garbage")
	t.refusesTar("", []byte("{}"), "two bytes")
	t.refusesTar("", bytes.Repeat([]byte("x"), 512), "a block of x")
}

func tarAbsurd(t *test) {
	long := header{name: "././@LongLink", kind: 'L', size: 1 << 33, magic: gnu}
	pax := header{name: "PaxHeaders/x", kind: 'x', size: 1 << 33, magic: ustar}
	for what, block := range map[string][]byte{"a name of 8 GB": long.block(), "records of 8 GB": pax.block()} {
		t.refusesTar("", joined(block, make([]byte, 1<<20)), what)
	}
	name := header{name: "././@LongLink", kind: 'L', magic: gnu}.with(strings.Repeat("a/", 50000) + "\x00")
	t.refusesTar("", joined(name, header{name: "x", kind: '0', mode: 0o644, magic: gnu}.with("x"), zeros), "a name of 100000 bytes")
}
