"""Commands of this program as child processes."""

import asyncio
import os
import sys
from collections.abc import Sequence

import msgspec

from streams.embedded.supervisor import bind_to_parent
from streams.errors import Refused
from streams.settings import PREFIX, Settings

SAYS = "aftersales: "
"""What the one sentence of a refused command begins with."""
QUOTED_LINES = 5


def environment(settings: Settings) -> dict[str, str]:
    """Environment of a child that works with these settings."""
    given = {PREFIX + name.upper(): str(value) for name, value in msgspec.structs.asdict(settings).items()}
    return {**os.environ, **{name: value for name, value in given.items() if value}}


async def run_command(settings: Settings, *arguments: str) -> str:
    """Run `aftersales ARGUMENTS` and return what it printed. Raises Refused with its error text when it fails."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "streams.cli.main",
        *arguments,
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        process_group=0,
        preexec_fn=bind_to_parent(os.getpid()),
    )
    try:
        out, err = await child.communicate()
    except asyncio.CancelledError:
        child.terminate()
        await child.wait()
        raise
    if child.returncode:
        raise Refused(refusal(err.decode(errors="replace")) or _failure(arguments, out.decode(errors="replace")))
    return out.decode(errors="replace")


def _failure(arguments: Sequence[str], printed: str) -> str:
    """What to say of a command that did what it could and said on standard output what it could not."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    more = [f"and {len(lines) - QUOTED_LINES} more lines"] if len(lines) > QUOTED_LINES else []
    said = "; ".join(lines[:QUOTED_LINES] + more)
    return f"`aftersales {' '.join(arguments)}` failed" + (f": {said}" if said else "")


def refusal(printed: str) -> str:
    """The sentence at the end of what a refused command printed, else all that it printed."""
    return printed.strip().rpartition(SAYS)[2]
