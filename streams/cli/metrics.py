"""`metrics`: what the workers of the embedded stack have counted."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from streams.cli.stack import command
from streams.embedded import stack as embedded
from streams.errors import Refused
from streams.settings import Settings

ANSWER_S = 5.0


def show(settings: Settings, process: str | None) -> int:
    """Print the metrics of one worker, or of all. Exit status 1 if one does not answer. Raises Refused."""
    found = embedded.status(Path(settings.directory).absolute())
    if found is None:
        raise Refused(
            f"no stack is running in {settings.directory}: start one with `{command(settings, 'up', '--detach')}`, or "
            "ask a worker itself, at http://<metrics_host>:<metrics_port>/metrics"
        )
    ports = {each.name: each.metrics_port for each in found.processes if each.metrics_port is not None}
    if process is not None and process not in ports:
        raise Refused(f"no worker is called {process[:80]}: choose from {', '.join(ports) or 'none, for none runs'}")
    status = 0
    for name, port in ports.items():
        if process in (None, name):
            try:
                print(f"# process {name}\n{_fetch(port, settings.metrics_token)}", end="")
            except (OSError, HTTPException) as error:
                print(f"# process {name} does not answer: {error}")
                status = 1
    return status


def _fetch(port: int, token: str) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status != HTTPStatus.OK:
            raise HTTPException(f"{answer.status} {body.strip()}")
        return body
    finally:
        connection.close()
