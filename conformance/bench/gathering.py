"""One run: the servers started, everything measured that the options ask for, one dictionary of it."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import platform
import shutil
import subprocess
from typing import Any, Callable, Dict, List, Sequence

import psutil

from ..lib.environment import ROOT, Unavailable, say_line
from ..lib.peers import ENVIRONMENTS, Server
from ..lib.servers import ServerFailed
from . import crowds, instructions, workloads
from .codec import measure_codecs
from .imports import measure_imports
from .load import Failed, Result, build_generator
from .peers import Running, choose_servers
from .rounds import keep_awake, real_time, run_rounds
from .workloads import ANSWER, ECHO, Workload

LISTEN_SECONDS, QUIET_PERCENT = 2.0, 8.0
CODEC_ROUNDS = {True: 5, False: 15}

Unusable = (Failed, ServerFailed, Unavailable, subprocess.SubprocessError)


async def gather(options: argparse.Namespace) -> Dict[str, Any]:
    """Measure what the options ask for; return everything that was found."""
    priority = choose_priority()
    run: Dict[str, Any] = {
        "rounds_wanted": options.rounds,
        "priority": priority,
        "machine": describe_machine(),
        "versions": describe_versions(),
        **{
            name: {}
            for name in ("missing", "rounds", "crowd", "compressed", "instructions", "imports", "codec")
        },
    }
    with keep_awake():
        await measure(options, run, real_time if priority == "real-time" else contextlib.nullcontext)
    return run


async def measure(options: argparse.Namespace, run: Dict[str, Any], priority: Callable[[], Any]) -> None:
    names = workloads.choose_names("codec" if options.codec else options.workloads, options.quick)
    chosen = [workload for workload in workloads.ALL if workload.name in names]
    servers = choose_servers(options.peers)
    if set(names) - {"codec", "imports"}:
        build_generator()
    with priority():
        for application in (ECHO, ANSWER):
            some = [workload for workload in chosen if workload.application == application]
            if some:
                run["rounds"].update(await measure_rounds(options, run["missing"], application, some))
        if "crowd" in names:
            crowd = functools.partial(crowds.measure_crowd, options.quick)
            run["crowd"] = await measure_each("crowd", servers, crowd)
        if "crowd-deflate" in names:
            peers = [server for server in servers if server.family != "floor"]
            for how, offer in workloads.OFFERS.items():
                compressed = functools.partial(crowds.measure_compressed, offer)
                run["compressed"][how] = await measure_each(f"crowd-deflate, {how}", peers, compressed)
        if "imports" in names:
            run["imports"] = measure_imports()
        if "codec" in names:
            run["codec"] = measure_codecs(max(options.rounds, CODEC_ROUNDS[options.quick]))
    if "instructions" in names and not shutil.which("valgrind"):
        run["missing"]["instructions"] = "apt-get install valgrind"
    elif "instructions" in names:
        for application in (ECHO, ANSWER):
            counts = await measure_instructions(choose_servers(options.peers, application), application)
            for name, found in counts.items():
                run["instructions"].setdefault(name, {}).update(found)


async def measure_rounds(
    options: argparse.Namespace, missing: Dict[str, str], application: str, chosen: Sequence[Workload]
) -> Dict[str, Dict[str, List[Result]]]:
    """Return {workload: {server: its results}} of the workloads of one application."""
    servers = choose_servers(options.peers, application)
    async with contextlib.AsyncExitStack() as stack:
        return run_rounds(await start_servers(stack, servers, application, missing), chosen, options.rounds)


async def start_servers(
    stack: contextlib.AsyncExitStack, servers: Sequence[Server], application: str, missing: Dict[str, str]
) -> List[Running]:
    """Start them all; what cannot be had here is left out, with the reason in `missing`."""
    started = []
    for server in servers:
        say_line(f"bench: starting {server.name}")
        try:
            started.append(await stack.enter_async_context(Running(server, application)))
        except Unusable as error:
            missing[server.name] = str(error)
            say_line(f"bench: {server.name} is left out: {error}", final=True)
    if not started:
        raise Unavailable("no server could be started")
    return started


async def measure_instructions(servers: Sequence[Server], application: str) -> Dict[str, Any]:
    # valgrind would count PyPy's compiling of traces.
    counted = [server for server in servers if server.environment != "pypy"]
    counting = functools.partial(instructions.count_instructions, application)
    return await measure_each("instructions", counted, counting, application, instructions.WRAPPER)


async def measure_each(
    what: str,
    servers: Sequence[Server],
    measuring: Callable[[Running], Any],
    application: str = ECHO,
    wrapper: Sequence[str] = (),
) -> Dict[str, Any]:
    """Measure one server after the other, each freshly started; return {server: what was found}."""
    results = {}
    for server in servers:
        say_line(f"bench: {what}, {server.name}")
        try:
            async with Running(server, application, wrapper) as running:
                results[server.name] = measuring(running)
        except Unusable as error:
            say_line(f"bench: {what}, {server.name}: {error}", final=True)
    return results


def choose_priority() -> str:
    """Normal on a quiet machine, as in production; real-time where others would disturb every figure."""
    say_line("bench: is the machine quiet?")
    busy = psutil.cpu_percent(LISTEN_SECONDS)
    if busy <= QUIET_PERCENT:
        return "normal"
    say_line(
        f"bench: others use {busy:.0f} % of this machine, so servers and load get real-time priority; "
        "that flatters servers with threads",
        final=True,
    )
    return "real-time"


def describe_machine() -> Dict[str, str]:
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {
        "processor": f"{models[0] if models else 'unknown'}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def describe_versions() -> Dict[str, str]:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    revision = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    pins = [pin for environment in ENVIRONMENTS.values() for pin in environment]
    return {"wsbridge": revision or "not committed", **dict(pin.split("==") for pin in pins)}
