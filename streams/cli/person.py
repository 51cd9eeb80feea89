"""Who runs a command: entries that a person asks for name them."""

import getpass
import os


def name() -> str:
    """The user's name on this machine; of one without a name, such as in many containers, its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
