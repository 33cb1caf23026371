"""A session of the Model Context Protocol with the SDK's own client.

    python -m conformance.frameworks.clients.mcp_client PORT auto|legacy

legacy: with the initialize handshake and a session on the server, ended by DELETE; auto: the newer protocol,
where each request stands alone.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Optional

from mcp import Client
from mcp.shared.exceptions import MCPError


async def talk(port: str, mode: Any) -> None:
    async with Client(f"http://127.0.0.1:{port}/mcp", mode=mode) as client:
        print(f"protocol {client.protocol_version}, {client.server_info and client.server_info.name}")
        print(" ".join(tool.name for tool in (await client.list_tools()).tools))
        print(f"echo: {get_text(await client.call_tool('echo', {'text': 'Zürich'}))}")
        long = "ü" * 100_000
        print(f"long echo: {get_text(await client.call_tool('echo', {'text': long})) == long}")

        async def show_progress(progress: float, total: Optional[float], message: Optional[str]) -> None:
            print(f"progress {progress:.0f} of {total or 0:.0f}")

        print(f"count: {get_text(await client.call_tool('count', progress_callback=show_progress))}")
        print(f"fail: {(await client.call_tool('fail')).is_error}")
        several = [client.call_tool("echo", {"text": str(number)}) for number in range(8)]
        print("several: " + " ".join(get_text(result) for result in await asyncio.gather(*several)))
        [content] = (await client.read_resource("street://sign")).contents
        print(f"resource: {content.text}")
        try:
            await client.read_resource("street://nothing")
        except MCPError as error:
            print(f"no such resource: {error.error.code}")
    print("left")


def get_text(result: Any) -> str:
    return str(result.content[0].text)


asyncio.run(talk(*sys.argv[1:]))
