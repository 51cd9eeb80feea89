"""The entry point of `aftersales`: runs a command and turns its outcome into an exit status.

0 done; 1 done, but something is wrong; 2 refused, with one sentence on standard error; 130 ended by Ctrl-C. Everything
is imported inside, for whatever is imported before could be hit by a Ctrl-C that nobody handles.
"""

REFUSED, INTERRUPTED = 2, 130
LONGEST_PATH = 200
"""Characters of a path that a refusal shows."""


def main() -> None:
    """Run the command that the arguments name."""
    try:
        status = _run()
    except KeyboardInterrupt:
        status = INTERRUPTED
    raise SystemExit(status)


def _run() -> int:
    import errno
    import logging
    import os
    import sys

    from cyclopts import CycloptsError

    from streams.cli.commands import app
    from streams.errors import Refused, Transient

    # What the machine says no to, whatever the command: nothing of ours is broken.
    forbidden = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
    not_ours = forbidden | {errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
    # They log what a refusal says in one sentence. Workers set up logging, and then they are heard again.
    for client in ("aiokafka", "clickhouse_connect"):
        logging.getLogger(client).addHandler(logging.NullHandler())
    try:
        status = app(sys.argv[1:], result_action="return_value", exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except CycloptsError as error:
        command = " ".join(("aftersales", *(error.command_chain or ())))
        said = " ".join(str(error).split()).removesuffix(", ...").rstrip(".")
        return _refuse(f"{said}; see `{command} --help`")
    except (Refused, Transient) as error:
        return _refuse(str(error))
    except BrokenPipeError:
        # Whoever reads our output has seen enough. What is still buffered goes nowhere, without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in not_ours or error.filename is None:
            raise
        return _refuse(f"{str(error.filename)[:LONGEST_PATH]}: {error.strerror}")


def _refuse(sentence: str) -> int:
    import sys

    from streams.cli.screen import on_one_line

    print(f"aftersales: {on_one_line(sentence)}", file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    main()
