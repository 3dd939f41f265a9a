"""TLS connections whose reads bring all records that have arrived, where usual ones bring one.

A record holds at most 16 KiB, and the way through urllib3, http.client and ssl costs more than to
decrypt it: reading many at once halves the processor time of a download over TLS.
"""

from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from ssl import SSLSocket, SSLWantReadError
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Records(RawIOBase):
    """The bytes of a TLS connection."""

    def __init__(self, one_by_one: RawIOBase, connection: SSLSocket) -> None:
        self._one_by_one = one_by_one
        self._connection = connection
        self._failure: OSError | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """What can be waited on for more to arrive."""
        return self._one_by_one.fileno()

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """Wait for a record, and take those that are here already too, as far as they fit.

        Raises:
            OSError: the connection is lost or silent, or a record is not what was sent; also what
                the read before came upon behind good ones, for TLS would tell it only once.
        """
        if self._failure is not None:
            raise self._failure
        room = memoryview(buffer).cast("B")
        count = self._one_by_one.readinto(room)
        if not count:
            return count
        timeout_s = self._connection.gettimeout()
        self._connection.settimeout(0)
        try:
            while count < len(room) and (more := self._connection.recv_into(room[count:])):
                count += more
        except SSLWantReadError:
            pass
        except OSError as error:
            self._failure = error
        finally:
            self._connection.settimeout(timeout_s)
        return count

    def close(self) -> None:
        """Let go of the connection."""
        self._one_by_one.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        if isinstance(sock, SSLSocket):  # not where TLS goes through the TLS of a proxy
            self.fp = BufferedReader(_Records(self.fp.detach(), sock))


class _Connection(HTTPSConnection):
    response_class = _Response


class RecordsPool(HTTPSConnectionPool):
    """Connections to one host, which read so."""

    ConnectionCls = _Connection
