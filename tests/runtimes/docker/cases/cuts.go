// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

var truncationCases = []testCase{
	{name: "cut/the-tar", run: cutTar},
	{name: "cut/the-connection", run: cutConnection},
	{name: "cut/the-connection-without-a-word", run: cutSilently},
	{name: "cut/nothing-is-left-to-send", run: cutWhole, not: "overlay2 makes a layer without files of no tar"},
}

// Where a tar may end, its data may not, nor a header.
func cutTar(t *test) {
	text := strings.Repeat("0123456789", 300)
	whole := tarOf(dir("d", 0o755), file("d/a", text), file(strings.Repeat("n", 150), "long").as(tar.FormatPAX), file("z", text))
	// d: one block; a: header, 6 blocks; the long name: header and 1 block, header and 1 block; z: header, 6 blocks.
	data := map[int]bool{}
	for start, size := range map[int]int{1024: len(text), 11 * 512: 4, 13 * 512: len(text)} {
		for i := start; i < start+size; i++ {
			data[i] = true
		}
	}
	heads := map[int]bool{0: true, 512: true, 8 * 512: true, 10 * 512: true, 12 * 512: true}
	var id string
	for cut := 1; cut < 20*512; cut += 61 {
		for _, at := range []int{cut, cut / 512 * 512} {
			block := at / 512 * 512
			id = t.create("again", "")
			_, err := t.plugin.ApplyDiff(id, "", bytes.NewReader(whole[:at]))
			switch {
			case data[at] || (heads[block] && at%512 != 0):
				t.refused(err, fmt.Sprintf("a tar cut at byte %d of %d", at, len(whole)))
			case err != nil: // in padding, or between what belongs together
				t.refused(err, "a tar")
			}
			t.remove(id)
			t.check(!t.exists(id), "it exists after Remove")
		}
	}
	t.create("again", "")
	_, err := t.plugin.ApplyDiff("again", "", bytes.NewReader(whole))
	t.must(err)
	t.has("again", "z="+text)
}

// Begins an ApplyDiff by hand.
func (t *test) begin(id string, part []byte) net.Conn {
	conn, err := net.Dial("unix", *socket)
	t.must(err)
	_, err = fmt.Fprintf(conn, "POST /GraphDriver.ApplyDiff?id=%s&parent= HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n"+
		"Transfer-Encoding: chunked\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n", id)
	t.must(err)
	if len(part) > 0 {
		_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(part), part)
		t.must(err)
	}
	return conn
}

// A tar that is whole, in a body that is not.
func cutConnection(t *test) {
	whole := tarOf(file("a", strings.Repeat("x", 5000)), file("b", "b"))
	for _, at := range []int{0, 100, 512, 3000, 6144, len(whole) - 1024, len(whole)} {
		for _, more := range []string{"", "10\r\nabc", "zz\r\n"} {
			t.create("again", "")
			conn := t.begin("again", whole[:at])
			io.WriteString(conn, more)
			t.must(conn.(*net.UnixConn).CloseWrite())
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				t.check(answer.StatusCode != 200, "a body cut after %d bytes of the tar is accepted", at)
			}
			conn.Close()
			t.remove("again")
		}
	}
	id := t.layer("", whole)
	t.has(id, "b=b")
}

// As when dockerd is killed; what it wants next comes at once.
func cutSilently(t *test) {
	whole := tarOf(file("a", strings.Repeat("x", 500000)), file("b", "b"))
	for i := 0; i < 20; i++ {
		t.create("again", "")
		t.begin("again", whole[:i*20000]).Close()
		// What is in the middle of it may still be there.
		t.eventually("it is removed", func() bool {
			return t.try("Remove", object{"ID": "again"}) == nil && !t.exists("again")
		})
		t.forget("again")
	}
	t.create("again", "")
	_, err := t.plugin.ApplyDiff("again", "", bytes.NewReader(whole))
	t.must(err)
	t.has("again", "b=b")
}

// As dockerd asks again where all of the tar was on its way when the connection broke.
func cutWhole(t *test) {
	for _, parent := range []string{"", t.layer("", tarOf(file("a", "a")))} {
		id := t.create(t.name(), parent)
		_, err := t.plugin.ApplyDiff(id, parent, bytes.NewReader(nil))
		t.refused(err, "ApplyDiff of nothing")
		_, err = t.plugin.ApplyDiff(id, parent, bytes.NewReader(tarOf(file("f", "x"))))
		t.must(err)
		t.has(id, "f=x")
	}
}
