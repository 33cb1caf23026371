"""nginx, HAProxy, Apache, Caddy, Envoy and http-proxy before wsbridge, each as the guide configures it.

    python3 conformance/run.py proxies [--proxy NAME] [--only WORD]

The configurations are those of wsbridge/guide/proxies.md: only addresses and paths are replaced, and times
where a check waits for one. Debian has nginx, haproxy and apache2-bin, npm has http-proxy; Caddy and Envoy
come from PyPI.

The report is conformance/reports/proxies/index.html, with the configurations and logs beside it.
"""

from __future__ import annotations

import argparse
from typing import List

from conformance.lib.environment import Unavailable, enter_environment, lock_folder, report_folder

from .catalogue import REQUIREMENTS, list_proxies


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py proxies", description=(__doc__ or "").splitlines()[0])
    names = [proxy.name for proxy in list_proxies()]
    parser.add_argument("--proxy", action="append", choices=names, help="only this one")
    parser.add_argument("--only", default="", help="only the checks that have this text in their name")
    options = parser.parse_args(argv)
    enter_environment("proxies", REQUIREMENTS, only_binary=True)
    from .run import run_all

    proxies = [proxy for proxy in list_proxies() if not options.proxy or proxy.name in options.proxy]
    missing = []
    for proxy in proxies:
        try:
            proxy.prepare()
        except Unavailable as error:
            missing.append(str(error))
    if missing:
        raise Unavailable("\nproxies: ".join(missing))
    folder = report_folder("proxies")
    lock_folder(folder)
    return run_all(proxies, options.only, folder)
