"""A relay between a client and a server on this machine, which can be cut at a chosen moment."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Literal, Self

Cut = Literal["before", "after"]


class Relay:
    """Forwards every connection; cuts the one on which the client says a certain thing, or all of them."""

    def __init__(self, port: int) -> None:
        """Listen.

        Args:
            port: the server's.
        """
        self._server = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._marker: tuple[bytes, Cut] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at(self, marker: bytes, when: Cut) -> None:
        """Cut the next connection on which the client says this.

        Args:
            marker: bytes of the client.
            when: `before` the server hears it, or `after` it has answered and before the client hears that.
        """
        self._marker = (marker, when)

    def close(self) -> None:
        """Refuse further connections."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                muted = threading.Event()
                threading.Thread(target=self._forward, args=(client, server, muted), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, muted), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        with contextlib.suppress(OSError), client:
            while said := client.recv(1 << 16):
                if self._marker and self._marker[0] in said:
                    (_, when), self._marker = self._marker, None
                    if when == "after":
                        muted.set()
                        server.sendall(said)
                        return  # closed by the answering side, once the server has answered
                    break
                server.sendall(said)
        _end(server)

    def _answer(self, server: socket.socket, client: socket.socket, muted: threading.Event) -> None:
        with contextlib.suppress(OSError), server:
            while (said := server.recv(1 << 16)) and not muted.is_set():
                client.sendall(said)
        _end(client)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
