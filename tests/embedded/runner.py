"""A process that runs an embedded stack as the command line does, for tests that send it signals.

    python -m tests.embedded.runner DIRECTORY

Prints one JSON line when the engines are ready: the modules that it has imported.
"""

import asyncio
import json
import sys

from streams.embedded.stack import Stack
from streams.embedded.supervisor import signals_cancel_this_task
from streams.settings import Settings


async def run(directory: str) -> None:
    with signals_cancel_this_task():
        async with Stack(Settings(directory=directory)) as stack:
            print(json.dumps(sorted(sys.modules)), flush=True)
            await stack.wait()


if __name__ == "__main__":
    try:
        asyncio.run(run(sys.argv[1]))
    except asyncio.CancelledError:
        sys.exit(0)
