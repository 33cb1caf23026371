"""The floor under every server in Python: bytes come back as they are, nothing is parsed.

`python -m conformance.bench.floor PORT bytes|asgi|requests`: `bytes` writes what it reads; `asgi` hands each
message to an application through a future, as an ASGI server must, and writes what the application sends.
`requests` takes each read for a request, and runs the application that answers requests in a task.
"""

import asyncio
import sys

from conformance.lib.apps import answer

RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class BytesEcho(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.is_open = False

    def data_received(self, data):
        if self.is_open:
            self.take(data)
        else:
            self.is_open = True
            self.transport.write(RESPONSE)

    def take(self, data):
        self.transport.write(data)


class AppEcho(BytesEcho):
    def connection_made(self, transport):
        super().connection_made(transport)
        self.loop = asyncio.get_running_loop()
        self.queue = []
        self.waiter = None
        self.task = self.loop.create_task(run_app(self.receive, self.send))

    def connection_lost(self, error):
        self.task.cancel()

    def take(self, data):
        # A read of several small frames, all alike, is as many messages; that is all that is looked at.
        size = 6 + (data[1] & 0x7F)
        if len(data) % size:
            size = len(data)
        for at in range(0, len(data), size):
            self.queue.append({"type": "websocket.receive", "text": None, "bytes": data[at : at + size]})
        if self.waiter is not None:
            self.waiter.set_result(None)
            self.waiter = None

    async def receive(self):
        if not self.queue:
            self.waiter = self.loop.create_future()
            await self.waiter
        return self.queue.pop(0)

    async def send(self, message):
        self.transport.write(message["bytes"])


class AppAnswer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.loop = asyncio.get_running_loop()

    def data_received(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        scope = {"type": "http", "method": head.split(b" ", 1)[0].decode()}
        self.task = self.loop.create_task(answer.app(scope, self.receive, self.send))

    async def receive(self):
        return {"type": "http.request", "body": self.body}

    async def send(self, message):
        if message["type"] == "http.response.start":
            lines = (b"%s: %s\r\n" % header for header in message["headers"])
            self.head = b"HTTP/1.1 200 OK\r\n%s\r\n" % b"".join(lines)
        else:
            self.transport.write(self.head + message["body"])


async def run_app(receive, send):
    while True:
        message = await receive()
        await send({"type": "websocket.send", "bytes": message["bytes"]})


async def serve(kind, port):
    protocol = {"bytes": BytesEcho, "asgi": AppEcho, "requests": AppAnswer}[kind]
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[2], int(sys.argv[1])))
