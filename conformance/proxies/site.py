"""A site: a server, the proxy before it, and how a client reaches them."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type

import aiohttp

from conformance.lib.clients import Websockets
from conformance.lib.servers import ServerProcess, find_port

from .catalogue import Proxy, fill
from .guide import edit, read_block, read_command

# What the guide calls the socket.
SOCKET = "/run/app/app.sock"
APPLICATION = "conformance.lib.apps.pages_app:app"

# Seconds that one request, or one opening handshake, may take.
STEP_SECONDS = 10.0

_numbers = itertools.count()


def build_key() -> str:
    """A name under which the application leaves what it has seen."""
    return f"key-{next(_numbers)}"


class Site:
    """`async with Site(proxy, folder, certificate, name)`: both listen until the end of the block.

    folder: for its files; short, because the path of a unix socket is.
    name: of the folder for its configuration and logs.
    edits: of the configuration; `flags`: further ones for the server.
    tcp: whether the server listens on a port instead of a unix socket.
    """

    def __init__(
        self,
        proxy: Proxy,
        folder: Path,
        tls: Tuple[Path, ssl.SSLContext],
        name: str,
        *,
        edits: Mapping[str, str] = {},
        flags: Sequence[str] = (),
        tcp: bool = False,
    ) -> None:
        self.kind = proxy
        self.folder = folder / f"{proxy.file}-{name}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        # The workers of a proxy that root starts have another user.
        self.folder.chmod(0o755)
        certificate, self.tls = tls
        self._flags = flags
        self._path: Optional[Path] = None if tcp else self.folder / "s"
        self._upstream = find_port()
        self._starts = 0
        self.port = find_port()
        self.values: Dict[str, object] = {
            "config": self.folder / proxy.file,
            "folder": self.folder,
            "port": self.port,
            "admin": find_port(),
        }
        text = edit(read_block(proxy.language), edits)
        addresses = {"/etc/ssl/app.pem": str(certificate), **proxy.addresses}
        addresses["8000" if tcp else SOCKET] = str(self._path or self._upstream)
        self.configuration = fill(edit(text, addresses), self.values)
        Path(str(self.values["config"])).write_text(self.configuration, "utf-8")

    # ------------------------------------------------------------------ the two processes

    async def __aenter__(self) -> Site:
        self.server = self.build_server()
        self.proxy = self.build_proxy()
        await self.server.__aenter__()
        try:
            await self.proxy.__aenter__()
        except BaseException:
            await self.server.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            await self.proxy.stop()
        finally:
            await self.server.stop()

    def build_server(self, *more: str) -> ServerProcess:
        """The guide's command, with another application, and another path or port."""
        flag, value = ("--port", "8000") if self._path is None else ("--uds", SOCKET)
        names = {"app:app": APPLICATION, value: str(self._path or self._upstream)}
        words = [names.get(word, word) for word in read_command(flag, value)]
        command = [sys.executable, *words, *self._flags, *more]
        self._starts += 1
        log = self.folder / f"server-{self._starts}.log"
        server = ServerProcess("wsbridge", command, log, path=self._path)
        if self._path is None:
            server.port = server.target = self._upstream
        return server

    async def restart_server(self, *more: str) -> None:
        self.server = self.build_server(*more)
        await self.server.__aenter__()

    def build_proxy(self) -> ServerProcess:
        command = [fill(word, self.values) for word in self.kind.prepare()]
        settings = {name: fill(value, self.values) for name, value in self.kind.settings.items()}
        proxy = ServerProcess(self.kind.name, command, self.folder / "proxy.log", settings=settings)
        proxy.port = proxy.target = self.port
        return proxy

    async def reload(self) -> None:
        if isinstance(self.kind.reload, list):
            command = [fill(word, self.values) for word in self.kind.reload]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=STEP_SECONDS)
            assert done.returncode == 0, done.stderr
        else:
            assert isinstance(self.kind.reload, int)
            self.proxy.send_signal(self.kind.reload)

    # ------------------------------------------------------------------------- as a client

    async def connect(
        self, path: str, subprotocols: Sequence[str] = (), headers: Sequence[Tuple[str, str]] = ()
    ) -> Websockets:
        client = Websockets(self.tls)
        await client.open(f"wss://127.0.0.1:{self.port}{path}", subprotocols, headers=headers)
        return client

    def open_session(self, source: str = "127.0.0.1") -> aiohttp.ClientSession:
        """A client of pages, whose own address is `source`."""
        connector = aiohttp.TCPConnector(ssl=self.tls, local_addr=(source, 0))
        timeout = aiohttp.ClientTimeout(STEP_SECONDS)
        return aiohttp.ClientSession(f"https://127.0.0.1:{self.port}", connector=connector, timeout=timeout)

    async def get_status(self) -> int:
        """What a page answers with, on a connection of its own."""
        async with self.open_session() as session, session.get("/") as answer:
            return answer.status

    async def ask_server(self, path: str) -> Any:
        """What the server answers without the proxy."""
        connector: aiohttp.BaseConnector = aiohttp.TCPConnector()
        if self._path is not None:
            connector = aiohttp.UnixConnector(str(self._path))
        timeout = aiohttp.ClientTimeout(STEP_SECONDS)
        url = f"http://127.0.0.1:{self._upstream}{path}"
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        async with session, session.get(url) as answer:
            return await answer.json()

    def read_server_logs(self) -> str:
        return "".join(path.read_text("utf-8") for path in sorted(self.folder.glob("server-*.log")))


def list_versions(proxies: Sequence[Proxy]) -> List[str]:
    versions = []
    for proxy in proxies:
        settings = {**os.environ, **proxy.settings}
        done = subprocess.run(proxy.version, capture_output=True, text=True, env=settings, timeout=30)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        versions.append(f"{proxy.name} {found.group() if found else '?'}")
    return versions
