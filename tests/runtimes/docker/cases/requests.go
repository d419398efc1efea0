// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

var requestCases = []testCase{
	{name: "request/empty-body-is-refused", run: emptyBody},
	{name: "request/garbage-is-refused", run: garbage},
	{name: "request/wrong-types-are-refused", run: wrongTypes},
	{name: "request/unknown-keys-are-ignored", run: unknownKeys},
	{name: "request/huge-body-is-refused", run: hugeBody},
	{name: "request/unknown-method-is-not-found", run: unknownMethod},
	{name: "request/connections-are-kept", run: connectionsKept},
	{name: "request/hosts-of-all-versions", run: hosts},
	{name: "request/byte-by-byte", run: byteByByte},
	{name: "request/64-connections", run: manyConnections},
	{name: "request/garbage-on-a-connection", run: garbageConnection},
}

var withBody = []string{
	"Init", "Create", "CreateReadWrite", "Remove", "Get", "Put", "Exists", "Status", "GetMetadata", "Cleanup", "Diff", "Changes", "DiffSize",
}

func (t *test) refusedBody(method, body, what string) {
	_, err := t.plugin.Raw(method, strings.NewReader(body))
	t.refused(err, method+" of "+what)
}

// What Go's client sends when it asks again after a connection broke: not a wish.
func emptyBody(t *test) {
	_, id := t.stack()
	t.get(id)
	for _, method := range withBody {
		t.refusedBody(method, "", "an empty body")
	}
	t.check(mounted(t.dirs[id]) && t.exists(id), "something was done")
	t.put(id)
}

func garbage(t *test) {
	_, id := t.stack()
	t.get(id)
	for _, method := range withBody {
		for _, body := range []string{
			"{", "}", "[]", "[1,2]", "\"text\"", "12", "nonsense", `{"ID":}`, `{"ID":"x"`, `{"ID" "x"}`, "\x00", "\xff\xfe", `{"ID":"\x"}`,
			strings.Repeat("[", 100000), strings.Repeat(`{"a":`, 100000),
		} {
			t.refusedBody(method, body, fmt.Sprintf("%.20q", body))
		}
	}
	t.check(mounted(t.dirs[id]) && t.exists(id), "something was done")
	t.put(id)
}

func wrongTypes(t *test) {
	for _, body := range []string{
		`{"ID":5}`, `{"ID":["x"]}`, `{"ID":{"x":1}}`, `{"ID":true}`, `{"ID":"x","Parent":1}`, `{"ID":"x","StorageOpt":"a"}`,
		`{"ID":"x","StorageOpt":{"a":1}}`, `{"ID":"x","StorageOpt":["a"]}`, `{"ID":"x","MountLabel":[]}`,
	} {
		t.refusedBody("CreateReadWrite", body, body)
	}
	t.check(!t.exists("x"), "a layer was made")
	home := fmt.Sprintf("%q", t.home)
	for _, body := range []string{
		`{"Home":5}`, `{"Home":` + home + `,"Opts":"a"}`, `{"Home":` + home + `,"Opts":[1]}`, `{"Home":` + home + `,"Opts":{}}`,
		`{"Home":` + home + `,"UIDMaps":{}}`, `{"Home":` + home + `,"UIDMaps":[{"container_id":"0","host_id":1,"size":1}]}`,
		`{"Home":` + home + `,"GIDMaps":[5]}`, `{"Home":` + home + `,"UIDMaps":[{"container_id":0.5,"host_id":1,"size":1}]}`,
	} {
		t.refusedBody("Init", body, body)
	}
	t.init()
}

func unknownKeys(t *test) {
	base, _ := t.stack()
	future := object{"a": []int{1, 2}, "b": object{"c": nil}, "d": 1.5e300}
	t.must(t.try("Create", object{"ID": "x", "Parent": base, "Future": future, "StorageOpt": nil, "MountLabel": nil}))
	t.must(t.try("Get", object{"ID": "x", "Future": future}))
	t.must(t.try("Put", object{"ID": "x", "Future": future}))
	t.must(t.try("Status", future))
	t.must(t.try("Init", object{"Home": t.home, "Opts": nil, "UIDMaps": nil, "GIDMaps": nil, "Future": future}))
	t.remove("x")
}

// 64 MB of JSON. Whether it is answered or the connection is closed: not taken, and others are served.
func hugeBody(t *test) {
	for _, open := range []string{`{"ID":"`, `{"ID":"x","Future":"`, `{"ID":"x","StorageOpt":{"`} {
		body := io.MultiReader(strings.NewReader(open), io.LimitReader(endless{}, 64<<20), strings.NewReader(`"}`))
		said, err := t.plugin.Raw("Create", body)
		t.check(err != nil, "it is taken: %.100q", said)
		t.check(!t.exists("x"), "it made a layer")
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func unknownMethod(t *test) {
	for _, method := range []string{"Nonsense", "get", "", "Get/x"} {
		status, body, err := t.plugin.Post(method, strings.NewReader("{}"))
		t.must(err)
		body.Close()
		t.check(status == 404, "%q: %d", method, status)
	}
}

func connectionsKept(t *test) {
	_, id := t.stack()
	for i := 0; i < 300; i++ {
		t.get(id)
		t.put(id)
		t.refused(t.try("Get", object{"ID": "nothing"}), "Get of nothing")
	}
	t.check(atomic.LoadInt64(&t.plugin.Dials) == 1, "it took %d connections", t.plugin.Dials)
}

func (t *test) speak(conn net.Conn, request string) (*http.Response, string) {
	_, err := io.WriteString(conn, request)
	t.must(err)
	return t.hear(conn)
}

func (t *test) hear(conn net.Conn) (*http.Response, string) {
	t.must(conn.SetDeadline(time.Now().Add(time.Minute)))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	t.must(err)
	text, err := io.ReadAll(answer.Body)
	t.must(err)
	return answer, string(text)
}

func (t *test) dial() net.Conn {
	conn, err := net.Dial("unix", *socket)
	t.must(err)
	return conn
}

const existsBody = `{"ID":"nothing"}` + "\n"

func hosts(t *test) {
	conn := t.dial()
	defer conn.Close()
	for _, host := range []string{"", "plugin.moby.localhost", "%2Frun%2Fdocker%2Fplugins%2Fx.sock"} {
		for i := 0; i < 2; i++ {
			answer, text := t.speak(conn, "POST /GraphDriver.Exists HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: Go-http-client/1.1\r\n"+
				fmt.Sprintf("Content-Length: %d\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n%s", len(existsBody), existsBody))
			t.check(answer.StatusCode == 200 && strings.HasPrefix(text, "{"), "%d, %q", answer.StatusCode, text)
			t.check(!answer.Close, "the connection is not kept")
		}
	}
}

func byteByByte(t *test) {
	conn := t.dial()
	defer conn.Close()
	request := "POST /GraphDriver.Exists HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range existsBody {
		request += fmt.Sprintf("1\r\n%c\r\n", c)
	}
	request += "0\r\n\r\n"
	for _, c := range []byte(request[:len(request)-1]) {
		_, err := conn.Write([]byte{c})
		t.must(err)
	}
	answer, text := t.speak(conn, request[len(request)-1:])
	t.check(answer.StatusCode == 200, "%d, %q", answer.StatusCode, text)
}

// All are held open, and each is answered.
func manyConnections(t *test) {
	request := fmt.Sprintf("POST /GraphDriver.Exists HTTP/1.1\r\nHost: \r\nContent-Length: %d\r\n\r\n%s", len(existsBody), existsBody)
	var conns []net.Conn
	for i := 0; i < 64; i++ {
		conn := t.dial()
		defer conn.Close()
		_, err := io.WriteString(conn, request[:len(request)-5])
		t.must(err)
		conns = append(conns, conn)
	}
	t.check(!t.exists("nothing"), "one more is not answered")
	for i := len(conns) - 1; i >= 0; i-- {
		answer, text := t.speak(conns[i], request[len(request)-5:])
		t.check(answer.StatusCode == 200, "%d, %q", answer.StatusCode, text)
	}
}

// However it is answered, it is, or the connection is closed; and others go on.
func garbageConnection(t *test) {
	for _, request := range []string{
		"\r\n\r\n", "nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "POST /GraphDriver.Exists HTTP/9.9\r\n\r\n",
		"POST /GraphDriver.Exists HTTP/1.1\r\nHost: \r\nContent-Length: -5\r\n\r\n",
		"POST /GraphDriver.Exists HTTP/1.1\r\nHost: \r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST /GraphDriver.Exists HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
		"POST /GraphDriver.Exists HTTP/1.1\r\nHost: \r\nTransfer-Encoding: gzip\r\n\r\n",
		"POST /GraphDriver.Exists HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 200000) + "\r\n",
		"POST /" + strings.Repeat("x", 5<<20) + " HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "",
	} {
		conn := t.dial()
		go func() {
			io.WriteString(conn, request)
			conn.(*net.UnixConn).CloseWrite()
		}()
		t.must(conn.SetDeadline(time.Now().Add(30 * time.Second)))
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		timeout, isNet := err.(net.Error)
		t.check(!isNet || !timeout.Timeout(), "%.60q is neither answered nor is its connection closed", request)
		t.check(err != nil || answer.StatusCode >= 400, "%.60q: %v", request, answer)
		conn.Close()
		t.check(!t.exists("nothing"), "others are not served")
	}
}
