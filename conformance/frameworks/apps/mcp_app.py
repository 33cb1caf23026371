"""A server of the Model Context Protocol over streamable HTTP."""

from __future__ import annotations

from mcp.server.mcpserver import Context, MCPServer

from .seen import note

server = MCPServer("street")


@server.tool()
async def echo(text: str) -> str:
    note(f"got {len(text)} characters")
    return text


@server.tool()
async def count(context: Context) -> str:  # type: ignore[type-arg]
    """Say how far it is; what is said comes as events before the result."""
    for number in range(3):
        await context.report_progress(number, 3)
    return "counted"


@server.tool()
async def fail() -> str:
    raise RuntimeError("on purpose")


@server.resource("street://sign")
def read_sign() -> str:
    return "Zürich"


app = server.streamable_http_app()
