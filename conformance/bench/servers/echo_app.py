"""The ASGI echo every server runs, written as a careful application would be."""


async def app(scope, receive, send):
    kind = scope["type"]
    if kind == "lifespan":
        await run_lifespan(receive, send)
    elif kind == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await echo(receive, send)


async def echo(receive, send):
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def run_lifespan(receive, send):
    while True:
        event = (await receive())["type"]
        await send({"type": event + ".complete"})
        if event == "lifespan.shutdown":
            return
