"""A program that has wsbridge vendored: `python3 FOLDER CONDITION PORT [PORT]`, where this is `__main__.py`.

It makes its own interpreter as poor as the condition says, has every copy test itself, and serves until
SIGTERM. Runs on every Python that wsbridge supports, in a zip, and frozen: standard library only.
"""

import os
import signal
import sys
import threading
from importlib.abc import MetaPathFinder


def main():
    name, *ports = sys.argv[1:]
    if name == "subinterpreters":
        return serve_in_subinterpreters(ports)
    CONDITIONS[name]()
    from myapp import codec, old, ws
    from myapp.codec import vendoring as of_codec
    from myapp.old import vendoring as of_old
    from myapp.ws import vendoring as of_ws

    failed = [kit.PACKAGE for kit in (of_ws, of_old, of_codec) if kit.main(["selftest"])]
    if failed or "wsbridge" in sys.modules or codec.__version__ != ws.__version__:
        sys.exit(f"not as it was vendored: {failed}")
    if name == "two versions":
        return serve_two(ws, old, ports)
    if name == "demo":
        from myapp.ws.server.command import cli

        sys.argv[1:] = ["--demo", "--port", *ports]
        return cli.command()
    if name == "frozen":
        # What is for speed only was found as well.
        check("fast" in type(ws.new_event_loop()).__module__, "server/fast/ is in it")
    ws.run(Greeting(ws), port=int(ports[0]), lifespan="off")


class Greeting:
    """An ASGI application: says which version serves it, then sends back what comes."""

    def __init__(self, package):
        self.version = package.__version__

    async def __call__(self, scope, receive, send):
        event = await receive()
        if scope["type"] != "websocket":
            return
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": self.version})
        event = await receive()
        while event["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
            event = await receive()


def serve_two(ws, old, ports):
    import asyncio

    async def serve():
        is_stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_stopped.set)
        first, second = (
            package.Server(Greeting(package), port=int(port), lifespan="off")
            for package, port in zip((ws, old), ports)
        )
        async with first, second:
            await is_stopped.wait()

    asyncio.run(serve())


def serve_in_subinterpreters(ports):
    """A server in each of two; this, the main one, only waits."""
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters

    # What they serve cannot be asked to end: only the main interpreter gets signals.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    programs = [SUBPROGRAM.format(folder=sys.path[0], port=port) for port in ports]
    # CPython 3.12 corrupts the interned strings that interpreters with a GIL of their own share (gh-116510).
    options = {"isolated": False} if sys.version_info[:2] == (3, 12) else {}
    arguments = [(interpreters.create(**options), program) for program in programs]
    threads = [threading.Thread(target=interpreters.run_string, args=pair) for pair in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Before Python 3.12 asyncio's module in C remembers one running loop for all interpreters.
SUBPROGRAM = """
import runpy, sys
if sys.version_info < (3, 12):
    sys.modules["_asyncio"] = None
sys.argv = ["", "plain", "{port}"]
try:
    runpy.run_path({folder!r}, None, "__main__")
except BaseException:
    import traceback
    traceback.print_exc()
"""


class Broken(MetaPathFinder):
    """Modules that are there, and whose shared library is not."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ImportError(f"lib{name}.so: cannot open shared object file", name=name)
        return None


def hide(*names):
    sys.modules.update(dict.fromkeys(names))


def spoil(*names):
    for name in names:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Broken(names))


def remove_epoll():
    import select

    check("selectors" not in sys.modules, "nobody has looked for epoll yet")
    del select.epoll


def forbid_epoll():
    import select

    check("selectors" not in sys.modules, "nobody has looked for epoll yet")

    def epoll(*_):
        raise OSError(38, os.strerror(38))

    select.epoll = epoll


def forbid_libraries():
    """As where a policy keeps a process from loading code that it could have written."""
    import ctypes

    def load(*_, **__):
        raise OSError("cannot map: permission denied")

    ctypes.CDLL = ctypes.PyDLL = load


def forbid_sha1():
    """hashlib as OpenSSL's FIPS provider makes it."""
    import hashlib

    def forbid(function):
        def build(*arguments, usedforsecurity=True):
            if usedforsecurity:
                raise ValueError("[digital envelope routines] unsupported")
            return function(*arguments, usedforsecurity=False)

        return build

    hashlib.sha1, hashlib.md5 = forbid(hashlib.sha1), forbid(hashlib.md5)


def check_nobody():
    """Nothing can be written, and nobody is at home."""
    if os.getuid() == 0 or "HOME" in os.environ:
        sys.exit("not nobody")
    for folder in ("/tmp", "/var/tmp", "/dev/shm", os.path.dirname(os.path.abspath(__file__)), "."):
        try:
            open(os.path.join(folder, "vendored"), "w").close()
        except OSError:
            continue
        sys.exit(f"{folder} is writable")


def check(is_so, what):
    if not is_so:
        sys.exit(f"the condition does not hold: {what}")


CONDITIONS = {
    "plain": lambda: None,
    "two versions": lambda: None,
    "isolated": lambda: check(
        sys.flags.isolated and sys.flags.no_site and sys.flags.optimize == 2, sys.flags
    ),
    "debug": lambda: check(sys.flags.dev_mode, sys.flags),
    "closed streams": lambda: check(sys.stdin is sys.stdout is sys.stderr is None, "streams are open"),
    "nobody": check_nobody,
    "frozen": lambda: check(sys.frozen, "it is frozen"),
    "demo": lambda: check(sys.frozen, "it is frozen"),
    "free-threaded": lambda: check(not sys._is_gil_enabled(), "there is a GIL"),
    "FIPS": forbid_sha1,
    "no epoll": remove_epoll,
    "epoll raises": forbid_epoll,
    "no ssl": lambda: hide("ssl", "_ssl"),
    "ssl raises": lambda: spoil("ssl", "_ssl"),
    "no zlib": lambda: hide("zlib"),
    "zlib raises": lambda: spoil("zlib"),
    "no _hashlib": lambda: hide("_hashlib"),
    "_hashlib raises": lambda: spoil("_hashlib"),
    "no ctypes": lambda: hide("ctypes", "_ctypes"),
    "ctypes raises": lambda: spoil("ctypes", "_ctypes"),
    "ctypes loads nothing": forbid_libraries,
}

if __name__ == "__main__":
    main()
