"""What each process of a running stack costs: CPU time from the kernel's accounts, per event."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from streams.embedded.stack import Stack, status

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """CPU seconds used so far by each process of the stack, and by this one, which imports."""
    found = status(stack.directory)
    assert found is not None
    used = {
        process.name.removesuffix("-1"): _cpu_s(process.pid)
        for process in found.processes
        if process.pid is not None and process.name != "supervisor"
    }
    return {"import": time.process_time(), **used}


def _cpu_s(pid: int) -> float:
    # proc(5): after the name in parentheses, utime and stime are the 12th and 13th field.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def describe(before: Mapping[str, float], after: Mapping[str, float], events: int) -> str:
    """CPU µs per event of each stage, in one line. A process that was started anew in between is left out."""
    spent = {name: after[name] - used for name, used in before.items() if after.get(name, 0.0) >= used}
    parts = [f"{name} {seconds / events * 1e6:.0f}" for name, seconds in spent.items()]
    return f"CPU µs per event: {', '.join(parts)}; all {sum(spent.values()) / events * 1e6:.0f}"
