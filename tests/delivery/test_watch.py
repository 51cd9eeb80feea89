"""Facts of the watch over steps that hang."""

import subprocess
import sys

HANG = "import time; from streams.delivery.watch import Watch; Watch({limit}).begin('restore'); time.sleep({sleep})"
GO_ON = """
import time
from streams.delivery.watch import Watch
watch = Watch(1.0)
for _ in range(8):
    watch.begin('restore')
    time.sleep(0.25)
watch.end('restore')
time.sleep(1.5)
"""


def test_a_step_that_hangs_ends_the_process_even_if_nothing_else_runs() -> None:
    done = subprocess.run([sys.executable, "-c", HANG.format(limit=0.3, sleep=60)], capture_output=True, timeout=30)
    assert done.returncode == 1
    assert b"restore took too long" in done.stderr


def test_a_step_that_goes_on_or_is_over_ends_nothing() -> None:
    assert subprocess.run([sys.executable, "-c", GO_ON], timeout=30).returncode == 0
