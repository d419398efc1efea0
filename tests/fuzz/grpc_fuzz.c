/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC server, of which a connection gets these bytes after the client's preface (where the first byte is
 * even; else they are all it gets), in pieces: every call gets what it was asked with, or is held, and
 * answered when the client has hung up.
 */
#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/serve/grpc_internal.h"
#include "driver/base/auto.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX ((size_t)64 << 10)
#define HELD_MAX  16

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

struct held {
	struct grpc_call *calls[HELD_MAX];
	size_t count;
};

static void answer(struct grpc_call *call)
{
	size_t len;
	const uint8_t *message = grpc_call_message(call, &len);
	char words[65] = "";

	memcpy(words, message, len < sizeof(words) ? len : sizeof(words) - 1);
	(void)grpc_call_send(call, message, len, NULL);
	grpc_call_finish(call, len % 3 ? GRPC_OK : GRPC_UNKNOWN, words);
}

static void dispatch(void *arg, struct grpc_call *call)
{
	struct held *held = arg;
	const char *path = grpc_call_path(call);
	size_t len;

	(void)grpc_call_message(call, &len);
	fuzz_require(path[0] == '/' && len <= GRPC_REQUEST_BYTES_MAX);
	if (len % 2 && held->count < HELD_MAX)
		held->calls[held->count++] = call;
	else
		answer(call);
}

static void turn(struct grpc_server *server, int client)
{
	static char in[4096];

	for (int i = 0; i < 3; i++)
		fuzz_require(grpc_server_turn(server, 0, NULL) >= 0);
	while (recv(client, in, sizeof(in), MSG_DONTWAIT) > 0)
		;
}

static void put(struct grpc_server *server, int client, const void *data, size_t len)
{
	if (len)
		(void)send(client, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	turn(server, client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct held held = { 0 };
	struct grpc_options options = { .dispatch = dispatch, .arg = &held, .patience_ms = 1 };
	struct grpc_server *server;
	struct err err = { 0 };
	int fds[2], done = 0;
	size_t step;

	if (size < 2 || size > INPUT_MAX)
		return 0;
	fuzz_require(grpc_server_new(&options, &server, &err) == 0, err.text);
	fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	fuzz_require(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	fuzz_require(grpc_server_adopt(server, fds[0], NULL, &err) == 0, err.text);
	if (data[0] % 2 == 0)
		put(server, fds[1], preface, sizeof(preface) - 1);
	step = data[1] ? (size / 8) + data[1] : size; /* at most a few pieces */
	for (size_t at = 2; at < size; at += step)
		put(server, fds[1], data + at, size - at < step ? size - at : step);
	/* Before it hangs up, or after. */
	if (data[0] & 2)
		while (held.count)
			answer(held.calls[--held.count]);
	if (data[0] & 4)
		grpc_server_drain(server);
	turn(server, fds[1]);
	(void)close(fds[1]);
	grpc_server_drain(server);
	fuzz_require(grpc_server_turn(server, 0, NULL) >= 0);
	while (held.count)
		answer(held.calls[--held.count]);
	for (int i = 0; i < 1000 && !done; i++)
		done = grpc_server_turn(server, 10, NULL);
	fuzz_require(done == 1);
	grpc_server_free(server);
	return 0;
}
