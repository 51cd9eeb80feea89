"""How worker processes log: one line per event to standard error."""

import logging
import sys


def set_up_logging() -> None:
    """Log to standard error, unless the process has set up logging already."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    # A warning for each partition and transaction, see delivery.transactions.RETRY_MS.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
    # What they have to say of a crash, the worker says once.
    for name in ("faust", "mode"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
