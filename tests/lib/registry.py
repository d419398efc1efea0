#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# registry.py DIRECTORY [OPTION...]
# registry.py --list-faults
#
# A registry on the loopback interface that does as it is told: it serves images from OCI layouts, writes down
# what it was asked, and plays the faults it is given. The kernel chooses the port, which is then in
# DIRECTORY/port; SIGTERM ends it, and so does the end of the process that started it; after SIGUSR1 it makes the
# file DIRECTORY/settled when it is answering nothing.
#
#   --serve NAME=LAYOUT       the repository NAME has the images of this layout; as often as wanted
#   --tls CERTIFICATE KEY     HTTPS instead of HTTP; PEM files
#   --clients CERTIFICATE     only for clients who have a certificate of this authority
#   --basic USER:PASSWORD     asks for them (basic authentication)
#   --token USER:PASSWORD     asks for a token, which its own /token gives to them
#   --anonymous               /token gives tokens to nobody, too
#   --token-lives SECONDS     what is said of them in expires_in, and true (default: 300)
#   --jwt CERTIFICATE KEY     tokens are signed, for a docker-registry that trusts the certificate
#   --page N                  at most so many tags a page
#   --faults FILE             a JSON array, see below
#   --elsewhere               a second server: what redirects lead to, and a proxy (CONNECT leads to the first
#                             server, whatever is asked for); its port is in DIRECTORY/elsewhere-port, its
#                             address 127.0.0.2, so that it is another host
#   --elsewhere-plain         that one without TLS
#
# The log, DIRECTORY/log, and DIRECTORY/elsewhere-log: a JSON object for each request, when it is over:
#
#   {"method": "GET", "path": "/v2/test/x/blobs/sha256:...", "query": "", "status": 206, "sent": BYTES OF BODY,
#    "range": HEADER, "if_range": HEADER, "accept": HEADER, "host": HEADER, "fault": NAME, "whole": BOOL,
#    "scheme": FIRST WORD OF AUTHORIZATION, "authorization": ALL OF IT (elsewhere only), "user": WHO /token KNEW}
#
# A fault: {"path": REGULAR EXPRESSION, "do": NAME, ...}. The first that fits a request is played:
#
#   path      all of the request's path, without the query
#   method    regular expression (default: GET)
#   ranged    true: only requests with a Range; false: only those without
#   skip      so many requests are answered well before
#   times     so often; without it, always
#   server    "elsewhere": on the second server
#   revoke    true: and no token that was given so far is good any more
#
# and whatever the fault itself takes, which stands at each below.
import argparse
import base64
import ctypes
import email.utils
import fcntl
import http.server
import itertools
import json
import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.parse
from pathlib import Path

PIECE = 64 << 10
DIGEST = "sha256:[0-9a-f]{64}"
STOP = threading.Event()


# ---- what is served ----

class Blob:
    """A file, or bytes, of which a part may be wanted."""

    def __init__(self, source):
        self.source = source
        self.size = len(source) if isinstance(source, bytes) else source.stat().st_size

    def pieces(self, start=0, end=None):
        end = self.size if end is None else end
        if isinstance(self.source, bytes):
            yield self.source[start:end]
            return
        with self.source.open("rb") as file:
            file.seek(start)
            while start < end and (piece := file.read(min(PIECE, end - start))):
                start += len(piece)
                yield piece


class Repository:
    """Of one or more layouts: their blobs, the manifests that can be reached from index.json, and tags."""

    def __init__(self):
        self.blobs, self.manifests, self.tags = {}, {}, {}

    def add(self, layout):
        for path in (layout / "blobs/sha256").iterdir():
            self.blobs[f"sha256:{path.name}"] = path
        for descriptor in json.loads((layout / "index.json").read_bytes())["manifests"]:
            self.add_manifest(descriptor)
            name = descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
            if tag := name.rpartition(":")[2]:
                self.tags[tag] = descriptor["digest"]

    def add_manifest(self, descriptor):
        digest = descriptor["digest"]
        if digest not in self.blobs:  # an index may name more platforms than there are here
            return
        self.manifests[digest] = descriptor["mediaType"]
        if "index" in descriptor["mediaType"] or "manifest.list" in descriptor["mediaType"]:
            for child in json.loads(self.blobs[digest].read_bytes())["manifests"]:
                self.add_manifest(child)


class Tokens:
    """Those that were given: until when each is good, and for what."""

    def __init__(self, options):
        self.options, self.given, self.numbers = options, {}, itertools.count(1)

    def give(self, user, scopes):
        if self.options.jwt:
            return self.signed(user, scopes)
        token = f"test-token-{next(self.numbers)}-of-{user or 'nobody'}"
        self.given[token] = time.monotonic() + self.options.token_lives, scopes
        return token

    def good(self, token, repository):
        until, scopes = self.given.get(token, (0, []))
        return time.monotonic() < until and (
            repository is None or any(scope.split(":")[1] == repository for scope in scopes))

    def revoke(self):
        self.given.clear()

    def signed(self, user, scopes):
        """RFC 7519, RS256, with the certificate in x5c, as docker-registry wants it."""
        certificate, key = self.options.jwt
        der = subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "DER"],
                             check=True, capture_output=True).stdout
        now = int(time.time())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        access = [dict(zip(("type", "name", "actions"), (*scope.split(":")[:2], ["pull"]))) for scope in scopes]
        claims = {"iss": "tests", "aud": "tests", "sub": user or "", "access": access, "nbf": now - 60, "iat": now,
                  "exp": now + int(self.options.token_lives), "jti": str(next(self.numbers))}
        text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(),
                                   check=True, capture_output=True).stdout
        return f"{text}.{base64url(signature)}"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Answer:
    """What is sent: from `start` to `end` of a blob. A fault changes it, or how it is sent."""

    def __init__(self, status, headers=None, body=b"", start=0, end=None):
        self.status, self.headers = status, dict(headers or {})
        self.body = Blob(body)
        self.start, self.end = start, self.body.size if end is None else end
        self.headers["Content-Length"] = str(self.end - self.start)
        self.send = lambda exchange: exchange.send_all(self)

    def pieces(self):
        return self.body.pieces(self.start, self.end)

    def text(self):
        return b"".join(self.pieces())


def document(status, value, headers=None):
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())


def problem(status, code, headers=None, message=""):
    return document(status, {"errors": [{"code": code, "message": message or code.lower().replace("_", " ")}]}, headers)


# ---- the registry ----

class Registry:
    """Answers of a registry in good health."""

    def __init__(self, options):
        self.options, self.tokens, self.repositories = options, Tokens(options), {}
        for served in options.serve:
            name, _, layout = served.partition("=")
            self.repositories.setdefault(name, Repository()).add(Path(layout))

    def answer(self, exchange):
        path = exchange.where
        if path == "/token":
            return self.token(exchange)
        if not path.startswith("/v2/"):
            return problem(404, "UNSUPPORTED")
        found = re.fullmatch(rf"/v2/(.+)/(manifests|blobs|tags)/([^/]+)", path)
        if refused := self.refusal(exchange, found and found[1]):
            return refused
        if path == "/v2/":
            return document(200, {})
        if not found or found[1] not in self.repositories:
            return problem(404, "NAME_UNKNOWN", message="repository name not known to registry")
        kind = {"manifests": self.manifest, "blobs": self.blob, "tags": self.tags}[found[2]]
        return kind(exchange, self.repositories[found[1]], found[3])

    def manifest(self, exchange, repository, reference):
        digest = repository.tags.get(reference, reference)
        if digest not in repository.manifests:
            return problem(404, "MANIFEST_UNKNOWN", message="manifest unknown")
        return Answer(200, {"Content-Type": repository.manifests[digest], "Docker-Content-Digest": digest,
                            "ETag": f'"{digest}"'}, repository.blobs[digest])

    def blob(self, exchange, repository, digest):
        if digest not in repository.blobs:
            return problem(404, "BLOB_UNKNOWN", message="blob unknown to registry")
        return blob_answer(exchange, digest, repository.blobs[digest])

    def tags(self, exchange, repository, _):
        """A page of them, and in Link where the next one is (distribution-spec, "Listing Tags")."""
        name = exchange.where.removeprefix("/v2/").removesuffix("/tags/list")
        names = sorted(tag for tag in repository.tags if tag > exchange.argument("last", ""))
        size = min(int(exchange.argument("n", "1000000")), self.options.page)
        page, headers = names[:size], {}
        if len(names) > size and page:
            headers["Link"] = f'</v2/{name}/tags/list?last={page[-1]}&n={size}>; rel="next"'
        return document(200, {"name": name, "tags": page}, headers)

    # Who may: None, or why not.
    def refusal(self, exchange, repository):
        scheme, secret = exchange.credentials()
        if self.options.basic and (scheme, secret) != ("basic", self.options.basic):
            return problem(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="tests"'})
        if self.options.token and not (scheme == "bearer" and self.tokens.good(secret, repository)):
            where = f'realm="{exchange.base}/token",service="tests"'
            if repository:
                where += f',scope="repository:{repository}:pull"'
            if scheme:
                where += ',error="invalid_token"'
            return problem(401, "UNAUTHORIZED", {"WWW-Authenticate": "Bearer " + where})
        return None

    def token(self, exchange):
        scheme, secret = exchange.credentials()
        if exchange.argument("service", "") != "tests":
            return document(400, {"details": "the service is called tests"})
        if scheme and (scheme, secret) != ("basic", self.options.token):
            return document(401, {"details": "incorrect username or password"})
        if not scheme and not self.options.anonymous:
            return document(401, {"details": "credentials, please"})
        exchange.user = secret.partition(":")[0] or "nobody"
        scopes = [scope for scope in exchange.arguments.get("scope", []) if scope.startswith("repository:")]
        return document(200, {"token": self.tokens.give(exchange.user, scopes),
                              "expires_in": int(self.options.token_lives)})


class Elsewhere:
    """Where redirects lead: it knows blobs by a signature in the query, and wants no Authorization."""

    def __init__(self, registry):
        self.registry = registry

    def answer(self, exchange):
        digest = exchange.where.removeprefix("/signed/")
        if exchange.headers.get("Authorization"):
            return problem(400, "UNSUPPORTED", message="only one way to authorize is allowed")
        for repository in self.registry.repositories.values():
            if digest in repository.blobs and exchange.argument("signature", "") == "good":
                return blob_answer(exchange, digest, repository.blobs[digest])
        return problem(404, "BLOB_UNKNOWN")


def blob_answer(exchange, digest, path):
    """All of it, or from where the client wants it (RFC 9110, 14 and 13.1.5)."""
    size, etag = path.stat().st_size, f'"{digest}"'
    headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "ETag": etag,
               "Accept-Ranges": "bytes"}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", exchange.headers.get("Range", ""))
    if not wanted or exchange.headers.get("If-Range", etag) != etag:
        return Answer(200, headers, path)
    start, end = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1) + 1
    if start >= size or start >= end:
        return problem(416, "RANGE_INVALID", {"Content-Range": f"bytes */{size}"})
    return Answer(206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"}, path, start, end)


# ---- faults: each takes the exchange, the good answer, and what its entry in the file says ----

FAULTS = {}


def fault(function):
    FAULTS[function.__name__] = function
    return function


@fault
def status(exchange, answer, told):
    """An answer of this status. code, message: the registry's error (default: that of the status); headers: more of
    them, in which a "{date+N}" becomes the time in N seconds, and "{base}", "{elsewhere}" the two servers."""
    headers = {name: exchange.fill(value) for name, value in told.get("headers", {}).items()}
    codes = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}
    code = told.get("code", codes.get(told["status"], "UNKNOWN"))
    become(answer, problem(told["status"], code, headers, told.get("message", "")))


@fault
def headers(exchange, answer, told):
    """The good answer with headers put in or, where null, left out."""
    for name, value in told["headers"].items():
        answer.headers.pop(name, None)
        if value is not None:
            answer.headers[name] = exchange.fill(value)


@fault
def serve(exchange, answer, told):
    """A file instead: file, type. Its own digest is in the header, unless told otherwise: digest."""
    data = Path(told["file"]).read_bytes()
    become(answer, Answer(200, {"Content-Type": told.get("type", "application/octet-stream")}, data))


@fault
def cut(exchange, answer, told):
    """The connection ends after `at` bytes of the body: by "close" (default), or by "reset"."""
    def send(exchange):
        exchange.send_all(answer, told["at"])
        exchange.hang_up(told.get("by") == "reset")
    answer.send = send


@fault
def hold(exchange, answer, told):
    """`at` bytes of the body; makes the file `reached`; the rest when there is the file `until`, if there is one."""
    def send(exchange):
        exchange.send_head(answer)
        rest = answer.pieces()
        held = exchange.send_body(rest, told["at"])
        Path(told["reached"]).touch()
        exchange.wait_for(told.get("until"))
        exchange.send_body(itertools.chain([held], rest))
    answer.send = send


@fault
def trickle(exchange, answer, told):
    """The first `at` bytes of the body at once, then a byte each `every` seconds."""
    def send(exchange):
        exchange.send_head(answer)
        rest = answer.pieces()
        for byte in itertools.chain(exchange.send_body(rest, told.get("at", 0)), *rest):
            exchange.send_body([bytes([byte])])
            exchange.rest(told["every"])
    answer.send = send


@fault
def drip(exchange, answer, told):
    """Headers without end, a byte each `every` seconds."""
    def send(exchange):
        exchange.raw(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while True:
            exchange.rest(told["every"])
            exchange.raw(b"x")
    answer.send = send


@fault
def silence(exchange, answer, told):
    """No answer, ever."""
    def send(exchange):
        exchange.wait_for(None)
        exchange.hang_up()
    answer.send = send


@fault
def hang_up(exchange, answer, told):
    """No answer, but the end of the connection: by "close" (default), or by "reset"."""
    answer.send = lambda exchange: exchange.hang_up(told.get("by") == "reset")


@fault
def garbage(exchange, answer, told):
    """What is not HTTP."""
    def send(exchange):
        exchange.raw(b"\x00\xffSSH-2.0-what?\r\n" * 20)
        exchange.hang_up()
    answer.send = send


@fault
def redirect(exchange, answer, told):
    """To the signed blob elsewhere, or `to`, in which "{base}", "{elsewhere}" are the servers, "{path}" the path."""
    to = told.get("to", "{elsewhere}/signed/{name}?signature=good")
    become(answer, Answer(told.get("status", 307), {"Location": exchange.fill(to)}))


@fault
def flip(exchange, answer, told):
    """One bit of byte `at` of the blob is another one; in ranges too, but where they begin behind it."""
    at = told["at"] - answer.start
    data = bytearray(answer.text())
    if 0 <= at < len(data):
        data[at] ^= 1
    answer.body, answer.start, answer.end = Blob(bytes(data)), 0, len(data)


@fault
def length(exchange, answer, told):
    """The body, and Content-Length with it, is `by` bytes longer, or shorter."""
    data = answer.text() + bytes(max(told["by"], 0))
    data = data[:len(data) + min(told["by"], 0)]
    become(answer, Answer(answer.status, answer.headers, data))


@fault
def endless(exchange, answer, told):
    """The body, then zeros (or `fill`, a text) for ever, in chunks, of which nobody said how long they are."""
    del answer.headers["Content-Length"]
    answer.headers["Transfer-Encoding"] = "chunked"
    more = itertools.repeat(told.get("fill", "\0").encode() * 4096)

    def send(exchange):
        exchange.send_head(answer)
        for piece in itertools.chain(answer.pieces(), more):
            exchange.raw(b"%x\r\n" % len(piece))
            exchange.send_body([piece])
            exchange.raw(b"\r\n")
    answer.send = send


@fault
def chunked(exchange, answer, told):
    """The body as it is, but nobody says how long it is."""
    del answer.headers["Content-Length"]
    answer.headers["Transfer-Encoding"] = "chunked"

    def send(exchange):
        exchange.send_head(answer)
        for piece in answer.pieces():
            exchange.raw(b"%x\r\n" % len(piece))
            exchange.send_body([piece])
            exchange.raw(b"\r\n")
        exchange.raw(b"0\r\n\r\n")
    answer.send = send


@fault
def header_flood(exchange, answer, told):
    """`count` headers, or for ever, of `bytes` each, before those of the good answer."""
    def send(exchange):
        exchange.raw(b"HTTP/1.1 200 OK\r\n")
        for number in itertools.islice(itertools.count(), told.get("count")):
            exchange.raw(b"X-Flood-%d: %s\r\n" % (number, b"x" * told.get("bytes", 100)))
        exchange.hang_up()
    answer.send = send


@fault
def informational(exchange, answer, told):
    """100 Continue, for ever."""
    def send(exchange):
        while True:
            exchange.raw(b"HTTP/1.1 100 Continue\r\n\r\n")
    answer.send = send


@fault
def no_ranges(exchange, answer, told):
    """All of the blob, whatever part is wanted."""
    become(answer, Answer(200, answer.headers, answer.body.source))
    answer.headers.pop("Content-Range", None)


@fault
def other_range(exchange, answer, told):
    """A part that begins `by` bytes later than the one wanted, and says so."""
    start = answer.start + told["by"]
    headers = {**answer.headers, "Content-Range": f"bytes {start}-{answer.end - 1}/{answer.body.size}"}
    become(answer, Answer(206, headers, answer.body.source, start, answer.end))


@fault
def no_such_range(exchange, answer, told):
    """416, although it is there."""
    become(answer, problem(416, "RANGE_INVALID", {"Content-Range": f"bytes */{answer.body.size}"}))


@fault
def another_blob(exchange, answer, told):
    """It has become another one: another ETag, and so all of it for an If-Range; other bytes (all of one kind)."""
    data = (b"another " * (answer.body.size // 8 + 1))[:answer.body.size]
    become(answer, Answer(200, {**answer.headers, "ETag": '"another"'}, data))
    answer.headers.pop("Content-Range", None)


def become(answer, other):
    other.send = lambda exchange: exchange.send_all(answer)
    answer.__dict__ = other.__dict__


class Faults:
    def __init__(self, entries):
        self.entries, self.lock = entries, threading.Lock()
        for entry in entries:
            if entry.get("do") not in FAULTS or "path" not in entry:
                sys.exit(f"registry.py: {entry} is no fault; there are: {' '.join(FAULTS)}")

    def pick(self, exchange, server):
        with self.lock:
            return next((entry for entry in self.entries if self.fits(entry, exchange, server)), None)

    @staticmethod
    def fits(entry, exchange, server):
        if entry.get("server", "main") != server or not re.fullmatch(entry["path"], exchange.where) or \
                not re.fullmatch(entry.get("method", "GET"), exchange.command) or \
                entry.get("ranged", "Range" in exchange.headers) != ("Range" in exchange.headers):
            return False
        entry["seen"] = entry.get("seen", 0) + 1
        return 0 < entry["seen"] - entry.get("skip", 0) <= entry.get("times", float("inf"))


# ---- HTTP ----

class Gone(Exception):
    """The client hung up, or we are told to end."""


class Exchange(http.server.BaseHTTPRequestHandler):
    """A connection, and the request on it that is being answered."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.begin()
        entry = self.server.faults.pick(self, self.server.name)
        try:
            answer = self.site.answer(self)
            if entry:
                self.fault = entry["do"]
                if entry.get("revoke"):
                    self.server.registry.tokens.revoke()
                FAULTS[entry["do"]](self, answer, entry)
            self.status = answer.status
            answer.send(self)
        except (Gone, OSError):
            self.whole, self.close_connection = False, True
        self.server.over(self)

    do_HEAD = do_GET

    def do_POST(self):
        self.begin()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.status = 405
        self.send_all(problem(405, "UNSUPPORTED"))
        self.server.over(self)

    # For a proxy's clients: to the first server, whatever they want.
    def do_CONNECT(self):
        self.begin()
        self.where, self.status, self.close_connection = self.path, 200, True
        self.raw(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.server.over(self)
        with socket.create_connection(self.server.registry.address) as other:
            ends = {self.connection: other, other: self.connection}
            while not STOP.is_set():
                for end in select.select(list(ends), [], [], 0.1)[0]:
                    data = end.recv(PIECE)
                    if not data:
                        return
                    ends[end].sendall(data)

    def begin(self):
        url = urllib.parse.urlsplit(self.path)
        self.where, self.query = urllib.parse.unquote(url.path), url.query
        self.arguments = urllib.parse.parse_qs(url.query)
        self.site = self.server.site
        self.base = f"{'https' if self.server.tls else 'http'}://{self.headers.get('Host', '')}"
        self.sent, self.status, self.fault, self.user, self.whole = 0, 0, None, None, True
        self.server.begun(self)

    def argument(self, name, default):
        return self.arguments.get(name, [default])[0]

    def credentials(self):
        """("basic", "USER:PASSWORD"), ("bearer", TOKEN) or ("", "")."""
        scheme, _, secret = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            secret = base64.b64decode(secret).decode()
        return scheme.lower(), secret

    def fill(self, text):
        """The text of a fault's entry, with names of things in braces."""
        text = re.sub(r"\{date\+(\d+)\}", lambda m: email.utils.formatdate(time.time() + int(m[1]), usegmt=True), text)
        values = {"base": self.base, "elsewhere": self.server.elsewhere_url, "path": self.where,
                  "name": self.where.rpartition("/")[2], "number": str(next(self.server.numbers))}
        for name, value in values.items():
            text = text.replace("{" + name + "}", value)
        return text

    # Sending. What is sent of bodies is counted.

    def raw(self, data):
        if STOP.is_set():
            raise Gone
        self.wfile.write(data)

    def send_head(self, answer):
        lines = [f"HTTP/1.1 {answer.status} {self.responses.get(answer.status, ('Unknown',))[0]}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        self.raw("\r\n".join([*lines, "", ""]).encode())

    def send_body(self, pieces, limit=None):
        """At most `limit` bytes of them; what is left of the last piece is returned."""
        if self.command == "HEAD":
            return b""
        for piece in pieces:
            now = piece if limit is None else piece[:limit - self.sent]
            self.raw(now)
            self.sent += len(now)
            if len(now) < len(piece) or self.sent == limit:
                return piece[len(now):]
        return b""

    def send_all(self, answer, limit=None):
        self.send_head(answer)
        self.send_body(answer.pieces(), limit)

    # Not sending.

    def hang_up(self, reset=False):
        """A reset takes nothing back: it waits until the client's kernel has all that was sent."""
        self.whole, self.close_connection = False, True
        if not reset:
            return
        until = time.monotonic() + 5
        while time.monotonic() < until and self.unacknowledged():
            time.sleep(0.002)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def unacknowledged(self):
        return struct.unpack("i", fcntl.ioctl(self.connection, termios.TIOCOUTQ, b"\0" * 4))[0]

    def rest(self, seconds):
        if STOP.wait(seconds):
            raise Gone

    def wait_for(self, file):
        """Until there is the file, or the client is no more."""
        while not (file and os.path.exists(file)):
            if select.select([self.connection], [], [], 0)[0]:  # it says no more before it has its answer
                raise Gone
            self.rest(0.01)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name, address, site, faults, directory, tls):
        super().__init__(address, Exchange)
        self.name, self.site, self.faults, self.tls = name, site, faults, tls
        self.log = os.open(directory / ("log" if name == "main" else f"{name}-log"),
                           os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.elsewhere_url, self.numbers = "", itertools.count(1)
        self.changed, self.busy = threading.Condition(), set()

    # In the connection's own thread, so that nobody waits for a handshake but it.
    def finish_request(self, connection, address):
        connection.settimeout(60)
        spoken = connection.recv(1, socket.MSG_PEEK)
        if (spoken == b"\x16") != bool(self.tls):
            return  # HTTP where TLS is spoken, or TLS where HTTP is
        connection.settimeout(None)
        if not self.tls:
            Exchange(connection, address, self)
            return
        with self.tls.wrap_socket(connection, server_side=True) as wrapped:
            Exchange(wrapped, address, self)

    # Only this: a shutdown would make an end of what is to be a reset.
    def shutdown_request(self, connection):
        connection.close()

    def handle_error(self, connection, address):
        if not isinstance(sys.exc_info()[1], OSError):  # failed handshakes are such, too
            super().handle_error(connection, address)

    def begun(self, exchange):
        with self.changed:
            self.busy.add(exchange)

    def over(self, exchange):
        headers, authorization = exchange.headers, exchange.headers.get("Authorization")
        line = {"method": exchange.command, "path": exchange.where, "query": exchange.query,
                "status": exchange.status, "sent": exchange.sent, "range": headers.get("Range"),
                "if_range": headers.get("If-Range"), "accept": ", ".join(headers.get_all("Accept", [])),
                "host": headers.get("Host"),
                "fault": exchange.fault, "whole": exchange.whole, "user": exchange.user,
                "scheme": authorization and authorization.split(" ")[0]}
        if self.name != "main":
            line["authorization"] = authorization
        os.write(self.log, (json.dumps(line) + "\n").encode())
        with self.changed:
            self.busy.discard(exchange)
            self.changed.notify_all()

    def settle(self, seconds=10):
        """Waits until nothing is under way, so that all of it is in the log."""
        with self.changed:
            self.changed.wait_for(lambda: not self.busy, seconds)

    def finish(self):
        """Ends what is under way."""
        with self.changed:
            for exchange in self.busy:
                try:
                    exchange.connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.settle(5)


# ---- the program ----

def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--list-faults", action="store_true")
    parser.add_argument("--serve", action="append", default=[], metavar="NAME=LAYOUT")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    parser.add_argument("--clients", metavar="CERTIFICATE")
    parser.add_argument("--basic", metavar="USER:PASSWORD")
    parser.add_argument("--token", metavar="USER:PASSWORD")
    parser.add_argument("--anonymous", action="store_true")
    parser.add_argument("--token-lives", type=float, default=300, metavar="SECONDS")
    parser.add_argument("--jwt", nargs=2, metavar=("CERTIFICATE", "KEY"))
    parser.add_argument("--page", type=int, default=1000, metavar="N")
    parser.add_argument("--faults", type=Path, metavar="FILE")
    parser.add_argument("--elsewhere", action="store_true")
    parser.add_argument("--elsewhere-plain", action="store_true")
    return parser.parse_args()


def end_with_parent(parent):
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("registry.py: who started this is gone")


def announce(file, port):
    new = file.with_suffix(".new")
    new.write_text(f"{port}\n")
    new.rename(file)


def main():
    parent = os.getppid()
    options = parse()
    if options.list_faults:
        print(*FAULTS, sep="\n")
        return
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    end_with_parent(parent)
    tls = None
    if options.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*options.tls)
        if options.clients:
            tls.load_verify_locations(options.clients)
            tls.verify_mode = ssl.CERT_REQUIRED
    faults = Faults(json.loads(options.faults.read_bytes()) if options.faults else [])
    registry = Registry(options)
    servers = [Server("main", ("127.0.0.1", 0), registry, faults, options.directory, tls)]
    if options.elsewhere or options.elsewhere_plain:
        servers.append(Server("elsewhere", ("127.0.0.2", 0), Elsewhere(registry), faults, options.directory,
                              None if options.elsewhere_plain else tls))
        port = servers[1].server_address[1]
        servers[0].elsewhere_url = f"{'https' if servers[1].tls else 'http'}://127.0.0.2:{port}"
        announce(options.directory / "elsewhere-port", port)
    registry.address = servers[0].server_address
    for server in servers:
        server.registry = registry
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    announce(options.directory / "port", registry.address[1])
    while signal.sigwait(signals) == signal.SIGUSR1:
        for server in servers:
            server.settle()
        announce(options.directory / "settled", 0)
    STOP.set()
    for server in servers:
        server.finish()
    os._exit(0)


if __name__ == "__main__":
    main()
