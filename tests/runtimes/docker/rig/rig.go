// SPDX-License-Identifier: Apache-2.0

// Package rig speaks Docker's protocol of graphdriver plugins: a client of a socket, and words that end a program.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

// Die ends the program.
func Die(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// Refused is an answer that says no: an HTTP status, and the words of "Err" or of the body.
type Refused struct {
	Status int
	Words  string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("refused with %d: %s", r.Status, r.Words)
}

// Plugin is a client. Connections are kept and used again, as dockerd does.
type Plugin struct {
	Socket string
	Dials  int64 // connections made
	http   *http.Client
}

// New makes a client of a socket; it connects when something is asked.
func New(socket string) *Plugin {
	p := &Plugin{Socket: socket}
	p.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			atomic.AddInt64(&p.Dials, 1)
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}}
	return p
}

// Path is a method's: "Plugin.Activate", or "GraphDriver." and the method.
func Path(method string) string {
	if strings.HasPrefix(method, "Plugin.") {
		return "/" + method
	}
	return "/GraphDriver." + method
}

// Post sends a body and gives back the status and the stream of the answer.
func (p *Plugin) Post(method string, body io.Reader) (int, io.ReadCloser, error) {
	request, err := http.NewRequest("POST", "http://plugin.moby.localhost"+Path(method), body)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Accept", "application/vnd.docker.plugins.v1.2+json")
	answer, err := p.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	return answer.StatusCode, answer.Body, nil
}

// Stream posts, and what is refused is an error. An "Err" in an answer with 200 is left to the reader.
func (p *Plugin) Stream(method string, body io.Reader) (io.ReadCloser, error) {
	status, stream, err := p.Post(method, body)
	if err != nil {
		return nil, err
	}
	if status == http.StatusOK {
		return stream, nil
	}
	defer stream.Close()
	text, _ := io.ReadAll(stream)
	return nil, refusal(status, text)
}

func refusal(status int, text []byte) error {
	var said struct{ Err string }
	if json.Unmarshal(text, &said) == nil && said.Err != "" {
		return &Refused{status, said.Err}
	}
	return &Refused{status, string(text)}
}

// Raw posts bytes and gives back those of the answer.
func (p *Plugin) Raw(method string, body io.Reader) ([]byte, error) {
	stream, err := p.Stream(method, body)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	text, err := io.ReadAll(stream)
	if err != nil {
		return nil, err
	}
	var said struct{ Err string }
	if json.Unmarshal(text, &said) == nil && said.Err != "" {
		return nil, &Refused{http.StatusOK, said.Err}
	}
	return text, nil
}

// Call sends a request as JSON and decodes the answer, which may be nil.
func (p *Plugin) Call(method string, request, answer interface{}) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	said, err := p.Raw(method, bytes.NewReader(append(text, '\n')))
	if err != nil {
		return err
	}
	if answer == nil {
		answer = &struct{}{}
	}
	if err := json.Unmarshal(said, answer); err != nil {
		return fmt.Errorf("the answer of %s is not what it should be: %v: %.200q", method, err, said)
	}
	return nil
}

// ApplyDiff sends a tar, in chunks.
func (p *Plugin) ApplyDiff(id, parent string, tar io.Reader) (int64, error) {
	// Neither a length, nor a reader of which net/http knows one.
	said, err := p.Raw("ApplyDiff?id="+id+"&parent="+parent, struct{ io.Reader }{tar})
	if err != nil {
		return 0, err
	}
	var answer struct{ Size *int64 }
	if err := json.Unmarshal(said, &answer); err != nil {
		return 0, err
	}
	if answer.Size == nil { // what is left out is nothing
		return 0, nil
	}
	return *answer.Size, nil
}
