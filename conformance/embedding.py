"""wsbridge in somebody else's program: what guide/hosts.md shows for hosts of other libraries, run there.

The programs of the guide that name a library run under it: trio, anyio, gunicorn's gthread worker, werkzeug's
threaded server. The client of websockets talks to each of them. `run_in_thread` runs in a notebook's kernel
(nbclient), beside Qt's event loop and beside Tcl's, which is Tk's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List

from .lib.environment import ROOT, enter_environment, report_folder
from .lib.parts import run_parts, write_parts
from .lib.report import Page
from .lib.servers import ServerProcess, find_port

REQUIREMENTS = [
    *("trio==0.35.0", "anyio==4.16.0", "gunicorn==27.0.1", "werkzeug==3.1.9", "websockets==17.4"),
    *("ipykernel==7.4.0", "nbclient==0.11.0", "PySide6-Essentials==6.12.0"),
]
GUIDE = ROOT / "wsbridge" / "guide" / "hosts.md"

# Seconds for one host.
TIMEOUT = 60

# The port that the guide's programs listen on.
PORT = "8001"

CONNECTIONS = 20

APPLICATION = """
import asyncio
import wsbridge
from talk import talk

received = []

async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        note(event["text"])
        await send({"type": "websocket.send", "text": event["text"].upper()})
"""

TCL = """
import queue
import threading
import tkinter

commands = queue.Queue()
note = commands.put
tcl = tkinter.Tcl()
client = threading.Thread(target=lambda: print(talk(server.urls[0], "hello")))

def poll():
    while not commands.empty():
        received.append(commands.get())
    if client.is_alive():
        tcl.after(10, poll)

with wsbridge.run_in_thread(app, port=0, lifespan="off") as server:
    tcl.after(0, poll)
    client.start()
    while client.is_alive():
        tcl.dooneevent()
poll()  # for what came between the last poll and the client's end
print(received)
"""

QT = """
import threading
from PySide6.QtCore import QCoreApplication, QObject, Signal, Slot

class Bridge(QObject):
    received = Signal(str)

class Window(QObject):
    @Slot(str)
    def show_text(self, text):
        received.append((text, threading.current_thread() is threading.main_thread()))
        client.join()
        qt.quit()

qt = QCoreApplication([])
bridge, window = Bridge(), Window()
bridge.received.connect(window.show_text)
note = bridge.received.emit
server = wsbridge.run_in_thread(app, port=0, lifespan="off")
qt.aboutToQuit.connect(lambda: server.close(1))
client = threading.Thread(target=lambda: print(talk(server.urls[0], "hello")))
client.start()
qt.exec()
print(received, server.loop.is_closed())
"""


class ProgramFailed(Exception):
    """A program has ended with an error, or has not said what it should have."""


def write_programs(folder: Path, port: int) -> None:
    """The files of the guide, with a free port in place of the guide's."""
    text = GUIDE.read_text("utf-8")
    for name, program in re.findall(
        r"^```python\n# (\w+\.py)(?:, with \w+)?\n(.*?)^```$", text, re.DOTALL | re.M
    ):
        folder.joinpath(name).write_text(program.replace(PORT, str(port)), "utf-8")


def run_program(program: str, folder: Path, expected: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", APPLICATION + program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if finished.returncode or finished.stdout.split() != expected.split() or finished.stderr:
        raise ProgramFailed(f"{finished.stdout}{finished.stderr} (exit code {finished.returncode})")


async def talk_to(port: int) -> None:
    """Echoes, a closing handshake, many at a time, and a request that is no handshake."""
    from websockets.asyncio.client import connect

    async def echo(number: int) -> None:
        async with connect(f"ws://127.0.0.1:{port}/{number}", max_size=None, compression=None) as client:
            for message in (f"hello {number}", "", "\u2713" * 1000, b"\0" * 100_000):
                await client.send(message)
                assert await client.recv() == message
            await (await client.ping())
        assert client.close_code == 1000, client.close_code

    await echo(0)
    await asyncio.gather(*map(echo, range(1, CONNECTIONS)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    assert re.match(rb"HTTP/1.1 (200 OK|400 Bad Request)\r\n", answer), answer
    writer.close()
    # A client that vanishes.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.transport.abort()
    await echo(CONNECTIONS)


async def serve_and_talk(name: str, command: List[str], folder: Path) -> None:
    settings = {"PYTHONPATH": f"{ROOT}:{folder}"}
    server = ServerProcess(name, [sys.executable, *command], folder / f"{name}.log", settings=settings)
    write_programs(folder, server.port)
    async with server:
        await asyncio.wait_for(talk_to(server.port), TIMEOUT)
    if server.find_tracebacks():
        raise ProgramFailed(f"its log has tracebacks: {server.find_tracebacks()}")


def serve_by(name: str, *command: str) -> Callable[[Path], Awaitable[None]]:
    return lambda folder: serve_and_talk(name, list(command), folder)


async def run_notebook(folder: Path) -> None:
    """The cells in a kernel, whose event loop runs; the server's cell twice, while another one computes."""
    import nbformat
    from nbclient import NotebookClient

    start = 'server = wsbridge.run_in_thread(app, port=0, lifespan="off")\nurl = server.urls[0]'
    cells = [
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\nnote = print",
        APPLICATION,
        *(start, 'assert talk(url, "hello") == "HELLO"', "server.close()"),
        *(start, 'assert await asyncio.to_thread(talk, url, "hello") == "HELLO"', "server.close()"),
        "assert server.loop.is_closed()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3")
    # ipykernel warns that a kernel on loopback is not encrypted.
    client.extra_arguments = ["--log-level=ERROR"]
    await client.async_execute()


async def run_beside_tcl(folder: Path) -> None:
    await asyncio.to_thread(run_program, TCL, folder, "HELLO ['hello']")


async def run_beside_qt(folder: Path) -> None:
    await asyncio.to_thread(run_program, QT, folder, "HELLO [('hello', True)] True")


WSGI = "from werkzeug.serving import run_simple; from wsgi_app import app; "
HOSTS: Dict[str, Callable[[Path], Any]] = {
    "trio": serve_by("trio", "-m", "trio_server"),
    "anyio": serve_by("anyio", "-m", "anyio_server"),
    "gunicorn, gthread": serve_by(
        "gunicorn",
        *("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "gthread"),
        *("--threads", str(CONNECTIONS), "--log-level", "warning", "wsgi_app:app"),
    ),
    "werkzeug": serve_by("werkzeug", "-c", WSGI + 'run_simple("127.0.0.1", {port}, app, threaded=True)'),
    "Jupyter": run_notebook,
    "Tcl, the event loop of Tk": run_beside_tcl,
    "Qt": run_beside_qt,
}


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py embedding", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=[*HOSTS], help="one host; may be repeated")
    arguments = parser.parse_args(argv)
    enter_environment("embedding", REQUIREMENTS)
    folder = report_folder("embedding")
    write_programs(folder, find_port())
    found = asyncio.run(run_parts("embedding", HOSTS, arguments.only or [*HOSTS], folder))
    page = Page("Embedding", f"CPython {sys.version.split()[0]}; {', '.join(REQUIREMENTS)}")
    return write_parts(page, "host", found, folder / "index.html")
