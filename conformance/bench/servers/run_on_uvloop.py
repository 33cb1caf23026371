"""`python run_on_uvloop.py MODULE [arguments]`: run a module as `-m` would, on uvloop."""

import asyncio
import runpy
import sys

import uvloop

if __name__ == "__main__":
    del sys.argv[0]
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
