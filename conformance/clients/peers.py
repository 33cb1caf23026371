"""The clients: where each comes from, how its program is started, and what its library cannot do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Union

from conformance.lib.environment import ENVIRONMENTS, ROOT, Unavailable, ensure_environment, say_line

FOLDER = Path(__file__).resolve().parent
BUILD_SECONDS = 300.0

PIP = [
    *("websockets==17.4", "aiohttp==3.14.5", "tornado==6.6.1", "picows==2.3.1", "websocket-client==1.9.2"),
    *("simple-websocket==1.1.0", "httpx-ws==0.9.0", "rnet==2.4.2", "curl_cffi==0.17.0", "httpx==0.28.1"),
    *("httpcore==1.0.9", "h11==0.16.0", "wsproto==1.3.2", "anyio==4.16.0", "aiofastnet==1.2.0"),
]
NPM = [
    *("ws@8.23.0", "undici@7.30.2", "faye-websocket@0.11.4", "permessage-deflate@0.1.7"),
    *("websocket-driver@0.8.0", "websocket-extensions@0.2.0", "http-parser-js@0.5.10", "safe-buffer@5.2.1"),
]
GO = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "CGO_ENABLED": "0"}


@dataclass(frozen=True)
class Peer:
    """One client.

    prepare: makes what its program needs, and returns its command line.
    version: the library's, or a command that tells it.
    lacks: what the library cannot do or does not show, by the name of a scenario or of what is compared
        (`judge`), each with a sentence. A shortfall it names is no failure; one that never happens is.
    skips: scenarios that are not run because this library makes their outcome chance, with a sentence.
    settings: environment variables its program needs.
    """

    name: str
    prepare: Callable[[], List[str]]
    version: Union[str, List[str]]
    lacks: Dict[str, str] = field(default_factory=dict)
    skips: Dict[str, str] = field(default_factory=dict)
    settings: Dict[str, str] = field(default_factory=dict)
    is_quick: bool = True


class Missing(Unavailable):
    """A tool or a library that this machine does not have."""


def need_command(command: str, packages: str) -> str:
    found = shutil.which(command)
    if found is None:
        raise Missing(f"{command} is missing: apt-get install {packages}")
    return found


def need_file(path: str, packages: str) -> None:
    if not Path(path).exists():
        raise Missing(f"{path} is missing: apt-get install {packages}")


def run_build(command: Sequence[str], settings: Dict[str, str]) -> str:
    """Run one command of a build; its last line in `Unavailable` if it fails."""
    try:
        built = subprocess.run(
            command,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{' '.join(command)}: not done after {BUILD_SECONDS:.0f} s") from None
    if built.returncode:
        lines = (built.stderr or built.stdout).strip().splitlines() or ["no output"]
        raise Unavailable(f"{' '.join(command)}: {lines[-1]}")
    return built.stdout.strip()


def prepare_python(name: str) -> List[str]:
    python = ensure_environment("clients", PIP, only_binary=True)
    return [str(python), str(FOLDER / "python_client.py"), name]


def prepare_node(name: str) -> List[str]:
    node = need_command("node", "nodejs")
    modules = ENVIRONMENTS / "clients-npm"
    stamp = modules / "built.json"
    if not stamp.exists() or json.loads(stamp.read_text("utf-8")) != NPM:
        npm = need_command("npm", "npm")
        shutil.rmtree(modules, ignore_errors=True)
        modules.mkdir(parents=True)
        flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        run_build([npm, "install", "--prefix", str(modules), *flags, *NPM], {})
        stamp.write_text(json.dumps(NPM), "utf-8")
        say_line(f"{modules.name}: ready", final=True)
    return [node, str(FOLDER / "node_client.js"), name]


def prepare_perl() -> List[str]:
    perl = need_command("perl", "perl")
    need_file("/usr/share/perl5/Mojolicious.pm", "libmojolicious-perl")
    return [perl, str(FOLDER / "mojolicious_client.pl")]


def prepare_java() -> List[str]:
    java = need_command("java", "default-jdk-headless")
    need_command("javac", "default-jdk-headless")
    return [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", str(FOLDER / "JdkClient.java")]


def prepare_go(name: str, package: str, module: str) -> List[str]:
    go = need_command("go", f"golang-go {package}")
    need_file(f"/usr/share/gocode/src/{module}", package)
    sources = [FOLDER / "go" / "peer.go", FOLDER / "go" / f"{name}.go"]
    command = [go, "build", "-o", "{output}", *map(str, sources)]
    return build_program(
        f"go-{name}", sources, command, {**GO, "GOCACHE": str(ENVIRONMENTS / "clients-go-cache")}
    )


def prepare_c(name: str, module: str, package: str, *libraries: str) -> List[str]:
    gcc = need_command("gcc", f"gcc pkg-config {package}")
    pkg_config = need_command("pkg-config", f"pkg-config {package}")
    if subprocess.run([pkg_config, "--exists", module]).returncode:
        raise Missing(f"{module} is missing: apt-get install {package}")
    flags = run_build([pkg_config, "--cflags", "--libs", module], {}).split()
    sources = [FOLDER / "c" / f"{name}_client.c", FOLDER / "c" / "peer.h"]
    return build_program(
        name, sources, [gcc, "-O1", "-o", "{output}", str(sources[0]), *flags, *libraries], {}
    )


def build_program(
    name: str, sources: Sequence[Path], command: Sequence[str], settings: Dict[str, str]
) -> List[str]:
    """Compile into conformance/.venvs/, unless what is there is newer than its sources."""
    output = ENVIRONMENTS / f"clients-{name}"
    newest = max(source.stat().st_mtime for source in sources)
    if not output.exists() or output.stat().st_mtime < newest:
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        run_build([part.replace("{output}", str(output)) for part in command], settings)
    return [str(output)]


def read_version(peer: Peer) -> str:
    """The version as it is pinned, or as the machine tells it."""
    return peer.version if isinstance(peer.version, str) else run_build(peer.version, {}).splitlines()[0]


def list_peers() -> List[Peer]:
    return [*_list_python(), *_list_node(), *_list_system()]


NO_DEFLATE = "does not offer permessage-deflate"
NO_EXTENSIONS = "does not show what was negotiated"
NO_BODY = "does not show the body of a refusal"
ALWAYS_1000 = "sends 1000 where close() is given no code"
ANSWERS_1000 = "answers a CLOSE with 1000, whatever its code"
NO_ANSWER = "does not show what its own CLOSE is answered with"
NO_WAIT = "does not wait for the answer to its own CLOSE"
LIKE_BROWSERS = "as in a browser, only 1000 and 3000 to 4999 can be sent"


def _list_python() -> List[Peer]:
    lacks = {
        "websockets": {"client closes": ALWAYS_1000},
        "aiohttp": {"body": NO_BODY, "client closes": ALWAYS_1000, "answer": ANSWERS_1000},
        "tornado": {"body": NO_BODY},
        "picows": {"compression": NO_DEFLATE, "body": NO_BODY, "client closes": ALWAYS_1000},
        "websocket-client": {
            "compression": NO_DEFLATE,
            "client closes": ALWAYS_1000,
            "answer": ANSWERS_1000,
            "code after its own close": NO_ANSWER,
        },
        "simple-websocket": {
            "compression": NO_DEFLATE,
            "extensions": NO_EXTENSIONS,
            "body": NO_BODY,
            "client closes": ALWAYS_1000,
            "answer": "does not answer a CLOSE",
            "code after its own close": NO_WAIT + ", and shows 1005",
        },
        "httpx-ws": {
            "compression": NO_DEFLATE,
            "body": NO_BODY,
            "client closes": ALWAYS_1000,
            "answer": ANSWERS_1000,
            "code after its own close": NO_WAIT,
        },
        "rnet": {
            "compression": NO_DEFLATE,
            "status": "shows the body of a refusal in its exception, but not the status",
            "client closes": "sends 1000 and the reason Goodbye where close() is given no code",
            "code after its own close": NO_ANSWER,
        },
        "curl_cffi": {
            "compression": NO_DEFLATE,
            "extensions": NO_EXTENSIONS,
            "subprotocol": "is given the offer as a header, and does not show what was chosen",
            "body": NO_BODY,
            "client closes": ALWAYS_1000,
        },
    }
    pins = dict(pin.split("==") for pin in PIP)
    late = "takes no notice of what comes in one segment with the 101 until another segment comes"
    skips = {"simple-websocket": {"server closes at once": late}}
    settings = {"PYTHONPATH": str(ROOT)}
    return [
        Peer(name, partial(prepare_python, name), pins[name], lacks[name], skips.get(name, {}), settings)
        for name in lacks
    ]


def _list_node() -> List[Peer]:
    lacks = {
        "ws": {},
        "undici": {
            "status": "as in a browser, a refusal is an error that says nothing about it",
            "body": NO_BODY,
            "client closes, 1001": LIKE_BROWSERS,
        },
        "faye-websocket": {
            "body": NO_BODY,
            "client closes": ALWAYS_1000,
            "client closes, 1001": LIKE_BROWSERS,
        },
    }
    pins = dict(pin.split("@") for pin in NPM)
    settings = {"NODE_PATH": str(ENVIRONMENTS / "clients-npm" / "node_modules")}
    return [
        Peer(name, partial(prepare_node, name), pins[name], lacks[name], settings=settings) for name in lacks
    ]


def _list_system() -> List[Peer]:
    jdk = {
        "compression": NO_DEFLATE,
        "extensions": NO_EXTENSIONS,
        "body": NO_BODY,
        "client closes": "has no close without a code",
    }
    lws = {
        "body": NO_BODY,
        "client closes": "sends no CLOSE where it is given no code, and cuts the connection",
        "empty messages": "ends the process by an assertion of its own when it compresses an empty message",
        "code after its own close": NO_WAIT,
    }
    libwebsockets = partial(prepare_c, "libwebsockets", "libwebsockets", "libwebsockets-dev", "-lcrypto")
    libsoup = partial(prepare_c, "libsoup", "libsoup-3.0", "libsoup-3.0-dev")
    package_version = ["dpkg-query", "-W", "-f", "${Version}"]
    packages = ["golang-github-gorilla-websocket-dev", "golang-nhooyr-websocket-dev"]
    gorilla = partial(prepare_go, "gorilla", packages[0], "github.com/gorilla/websocket")
    nhooyr = partial(prepare_go, "nhooyr", packages[1], "nhooyr.io/websocket")
    return [
        Peer("JDK", prepare_java, ["java", "--version"], jdk),
        Peer("Mojolicious", prepare_perl, ["perl", "-MMojolicious", "-e", "print Mojolicious->VERSION"]),
        Peer("libwebsockets", libwebsockets, ["pkg-config", "--modversion", "libwebsockets"], lws),
        Peer("libsoup", libsoup, ["pkg-config", "--modversion", "libsoup-3.0"], {"body": NO_BODY}),
        Peer("gorilla", gorilla, [*package_version, packages[0]], is_quick=False),
        Peer(
            "nhooyr",
            nhooyr,
            [*package_version, packages[1]],
            {"code after its own close": NO_ANSWER},
            is_quick=False,
        ),
    ]
