"""Sockets and certificates as operators have them: systemd-socket-activate, restarts, curl, openssl, renewal.

The server is started by `systemd-socket-activate`, by a parent that keeps the socket, and on several hosts.
Its certificates are trustme's: clients are verified, and SIGHUP has a certificate of another kind read while
a WebSocket stays open. The client of websockets, curl and openssl talk to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List

from .lib.environment import ROOT, Unavailable, enter_environment, report_folder
from .lib.parts import run_parts, write_parts
from .lib.report import Page
from .lib.servers import Process, ServerProcess, find_port

REQUIREMENTS = ["trustme==1.2.1", "cryptography==50.0.2", "websockets==17.4", "uvloop==0.23.0"]
TOOLS = {"systemd-socket-activate": "systemd", "curl": "curl", "openssl": "openssl"}

# Seconds for one check, and for one command.
TIMEOUT = 60
COMMAND_TIMEOUT = 10

RESTARTS = 3
CLIENTS = 4

APPLICATION = """
import json

async def app(scope, receive, send):
    if scope["type"] == "http":
        body = json.dumps([scope["client"], scope["server"], scope["extensions"]]).encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
"""

SERVE = [sys.executable, "-m", "wsbridge", "listening_app:app", "--log-level", "debug"]


def expect(condition: object, found: object) -> None:
    if not condition:
        raise AssertionError(f"found {found!r}")


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=COMMAND_TIMEOUT)


async def fetch(*arguments: str) -> Any:
    """The application's answer, by curl."""
    finished = await asyncio.to_thread(run_tool, "curl", "-sS", *arguments)
    expect(finished.returncode == 0, finished.stderr)
    return json.loads(finished.stdout)


def build_server(name: str, folder: Path, *flags: str) -> ServerProcess:
    settings = {"PYTHONPATH": f"{ROOT}:{folder}"}
    command = [*SERVE, *flags]
    return ServerProcess(name, command, folder / f"{name}.log", settings=settings)


# ------------------------------------------------------------------------- sockets


async def check_hosts(folder: Path) -> None:
    async with build_server("hosts", folder, "--host", "127.0.0.1,[::1]", "--port", "{port}") as server:
        for host, url in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
            client, listening, _ = await fetch(f"http://{url}:{server.port}/")
            expect((client[0], listening) == (host, [host, server.port]), (client, listening))


async def check_activation(folder: Path) -> None:
    """Two sockets of systemd's, which it is told about, and which stay when the server has ended."""
    port, path, notify = find_port(), folder / "activated.sock", folder / "notify.sock"
    for left in (path, notify):
        left.unlink(missing_ok=True)
    variables = {"PYTHONPATH": f"{ROOT}:{folder}", "NOTIFY_SOCKET": str(notify)}
    passed = [f"--setenv={name}={value}" for name, value in variables.items()]
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-l", str(path), *passed, *SERVE]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(notify))
        systemd.settimeout(COMMAND_TIMEOUT)
        async with Process("activation", command, folder / "activation.log") as process:
            while not path.exists():
                await asyncio.sleep(0.02)
            # The first connection starts the server, and waits for it.
            _, listening, _ = await fetch(f"http://127.0.0.1:{port}/")
            expect(listening == ["127.0.0.1", port], listening)
            _, listening, _ = await fetch("--unix-socket", str(path), "http://a/")
            expect(listening == [str(path), None], listening)
            expect(await process.stop() == 0, process.read_log())
        told = [systemd.recv(100) for _ in range(2)]
        expect(told == [b"READY=1", b"STOPPING=1"], told)
    expect(path.exists(), "the path is removed")


async def check_activation_by_a_shell(folder: Path) -> None:
    """The sockets are for the shell: a warning says why nobody answers on them."""
    port = find_port()
    serve = " ".join([*SERVE, "--port", str(find_port())]) + "; true"
    passed = f"--setenv=PYTHONPATH={ROOT}:{folder}"
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", passed, "sh", "-c", serve]
    async with Process("shell", command, folder / "shell.log") as process:
        while "listening on http" not in process.read_log():
            with socket.socket() as client:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
                await asyncio.sleep(0.1)
        # The shell passes no signal on.
        os.killpg(process.pid, signal.SIGTERM)
        expect("start the server without a shell, or with exec" in process.read_log(), process.read_log())


async def check_restarts(folder: Path) -> None:
    """A parent keeps the socket: while the server starts again, connections wait, and none is refused."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    listening = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(listening.fileno(), True)
    port = listening.getsockname()[1]
    log = folder / "restarts.log"
    is_over = asyncio.Event()
    echoes, stops = 0, 0

    async def talk() -> None:
        nonlocal echoes, stops
        while not is_over.is_set():
            async with connect(f"ws://127.0.0.1:{port}/", open_timeout=COMMAND_TIMEOUT) as client:
                try:
                    while not is_over.is_set():
                        await client.send("hello")
                        echoes += await client.recv() == "hello"
                        await asyncio.sleep(0.01)
                except ConnectionClosed as error:
                    expect(error.rcvd is not None and error.rcvd.code == 1012, error)
                    stops += 1

    def start() -> subprocess.Popen[bytes]:
        command = [*SERVE, "--fd", str(listening.fileno())]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
        with open(log, "ab") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=output, close_fds=False)

    log.write_bytes(b"")
    server = start()
    clients = [asyncio.ensure_future(talk()) for _ in range(CLIENTS)]
    try:
        for started in range(1, RESTARTS + 1):
            # A signal that comes before the application has started ends with another exit code.
            while log.read_text("utf-8").count("listening on") < started:
                await asyncio.sleep(0.02)
            await asyncio.sleep(1)
            server.terminate()
            expect(await asyncio.to_thread(server.wait, COMMAND_TIMEOUT) == 0, "exit code")
            server = start()
        await asyncio.sleep(1)
    finally:
        is_over.set()
        found = await asyncio.gather(*clients, return_exceptions=True)
        server.terminate()
        await asyncio.to_thread(server.wait, COMMAND_TIMEOUT)
        listening.close()
    errors = [error for error in found if error is not None]
    expect(not errors and stops == RESTARTS * CLIENTS and echoes > stops, (errors, stops, echoes))


# ----------------------------------------------------------------------------- TLS


def write_certificates(folder: Path) -> None:
    """A server's with RSA, its successor with an elliptic curve, a client's; and that of a stranger."""
    import trustme

    authority, stranger = trustme.CA(), trustme.CA()
    rsa, curve = trustme.KeyType.RSA, trustme.KeyType.ECDSA
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, issuer, identity, kind in (
        ("server", authority, "localhost", rsa),
        ("renewed", authority, "localhost", curve),
        ("client", authority, "client.example", curve),
        ("stranger", stranger, "client.example", curve),
    ):
        issued = issuer.issue_cert(identity, key_type=kind, common_name="B\xfcro; 5, #1")
        issued.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")


def get_subject(file: Path) -> str:
    command = ("openssl", "x509", "-in", str(file), "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb")
    return run_tool(*command).stdout.strip().partition("=")[2]


async def check_clients(folder: Path) -> None:
    flags = ["--ssl-certfile", str(folder / "server.pem"), "--ssl-ca-certs", str(folder / "ca.pem")]
    server = build_server("clients", folder, "--port", "{port}", *flags, "--ssl-cert-reqs", "required")
    async with server:
        options = ["--cacert", str(folder / "ca.pem"), f"https://localhost:{server.port}/"]
        _, _, extensions = await fetch("--cert", str(folder / "client.pem"), *options)
        tls = extensions["tls"]
        expect(tls["client_cert_name"] == get_subject(folder / "client.pem"), tls["client_cert_name"])
        expect(tls["client_cert_chain"][0] in (folder / "client.pem").read_text("utf-8"), tls)
        expect(tls["server_cert"] in (folder / "server.pem").read_text("utf-8"), tls)
        expect(tls["tls_version"] == 0x0304, tls)
        for certificate in ([], ["--cert", str(folder / "stranger.pem")]):
            refused = await asyncio.to_thread(run_tool, "curl", "-sS", *certificate, *options)
            expect(refused.returncode != 0 and not refused.stdout, refused)


def find_key(port: int, *flags: str) -> str:
    """What kind of key signs the server's handshake; empty if there is none."""
    target = ("-connect", f"127.0.0.1:{port}", "-servername", "localhost")
    said = run_tool("openssl", "s_client", *target, *flags).stdout
    return "".join(re.findall(r"^Peer signature type: (\S+)$", said, re.MULTILINE))


async def renew(folder: Path, loop: str) -> None:
    from websockets.asyncio.client import connect

    live = folder / f"live-{loop}.pem"
    shutil.copy(folder / "server.pem", live)
    trusting = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    flags = ["--port", "{port}", "--ssl-certfile", str(live), "--loop", loop]
    server = build_server(f"renewal-{loop}", folder, *flags)
    async with server, connect(f"wss://localhost:{server.port}/", ssl=trusting) as client:
        expect(await asyncio.to_thread(find_key, server.port) == "RSA-PSS", "no RSA")
        expect(not await asyncio.to_thread(find_key, server.port, "-tls1_1"), "TLS 1.1")
        for content, line in (
            ((folder / "renewed.pem").read_text("utf-8"), "certificates are read again"),
            ("broken", "the old ones stay in use"),
        ):
            live.write_text(content, "utf-8")
            server.send_signal(signal.SIGHUP)
            while line not in server.read_log():
                await asyncio.sleep(0.02)
            expect(await asyncio.to_thread(find_key, server.port) == "ECDSA", line)
            rsa = await asyncio.to_thread(find_key, server.port, "-sigalgs", "RSA-PSS+SHA256")
            expect(not rsa, "the old certificate is shown beside its successor")
            await client.send("still here")
            expect(await client.recv() == "still here", "no echo")


async def check_renewal(folder: Path) -> None:
    for loop in ("auto", "uvloop"):
        await renew(folder, loop)


CHECKS: Dict[str, Callable[[Path], Awaitable[None]]] = {
    "several hosts": check_hosts,
    "socket activation": check_activation,
    "socket activation of a shell": check_activation_by_a_shell,
    "restarts on a socket that stays": check_restarts,
    "verified clients": check_clients,
    "renewal": check_renewal,
}


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py listening", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=[*CHECKS], help="one check; may be repeated")
    arguments = parser.parse_args(argv)
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise Unavailable(f"needs {tool}: apt-get install {package}")
    enter_environment("listening", REQUIREMENTS)
    folder = report_folder("listening")
    folder.joinpath("listening_app.py").write_text(APPLICATION, "utf-8")
    write_certificates(folder)
    found = asyncio.run(run_parts("listening", CHECKS, arguments.only or [*CHECKS], folder, TIMEOUT))
    page = Page("Listening", f"CPython {sys.version.split()[0]}; {ssl.OPENSSL_VERSION}")
    return write_parts(page, "check", found, folder / "index.html")
