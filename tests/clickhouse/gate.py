"""A gate in front of ClickHouse that cuts connections with inserts, before or after they get through."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

CHUNK = 1 << 16
TIMEOUT_S = 30.0


class Gate:
    """Forwards to the server of a DSN. `cut`: `before` an insert reaches the server, or `after` it was carried out."""

    def __init__(self, dsn: str) -> None:
        server = urlsplit(dsn)
        self._server = server.hostname, server.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.dsn = urlunsplit(server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}"))
        self.cut: Literal["before", "after", "never"] = "never"
        self.inserts_cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Gate":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            for side in (client, server):
                side.settimeout(TIMEOUT_S)
            inserting = threading.Event()
            back = threading.Thread(target=self._answer, args=[server, client, inserting], daemon=True)
            back.start()
            try:
                while chunk := client.recv(CHUNK):
                    if b"INSERT" in chunk:
                        inserting.set()
                        if self.cut == "before":
                            self.inserts_cut += 1
                            break
                    server.sendall(chunk)
            except OSError:
                pass
            _hang_up(client)
            _hang_up(server)
            back.join()

    def _answer(self, server: socket.socket, client: socket.socket, inserting: threading.Event) -> None:
        try:
            while chunk := server.recv(CHUNK):
                if inserting.is_set() and self.cut == "after":
                    self.inserts_cut += 1
                    break
                inserting.clear()
                client.sendall(chunk)
        except OSError:
            pass
        _hang_up(client)


def _hang_up(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
