"""One line a request on standard error, as text or as JSON, as much of it as the level asks for."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from nimctl.cli.terminal import print_note
from nimctl.core.units import format_duration, format_file_bytes
from nimctl.server import AccessRecord

_PROBED = ("/v1/health/", "/v1/metrics")


def make_access_log(level: str, form: str) -> Callable[[AccessRecord], None]:
    """The log of a level: `debug` tells of every request, `info` of all but health checks and
    metrics, `warning` of those refused or cut short, `error` of those the server failed.

    Args:
        form: `text`, or `json` for one object a line with the field names of NIM's logs.
    """

    def tell(record: AccessRecord) -> None:
        if not _is_told(record, level):
            return
        if form == "json":
            print_note(json.dumps(request_document(record, time.time())))
        else:
            print_note(f"{time.strftime('%H:%M:%S')} {describe_request(record)}")

    return tell


def _is_told(record: AccessRecord, level: str) -> bool:
    if level == "error":
        return record.status >= 500
    if level == "warning":
        return record.status >= 400 or record.cut_by is not None
    return level == "debug" or not record.path.startswith(_PROBED)


def describe_request(record: AccessRecord) -> str:
    """What happened to a request, without a query, a prompt or a key."""
    parts = [
        f"{record.method} {_printable(record.path)} {record.status}",
        f"in {format_duration(record.duration_s)}",
    ]
    if record.first_byte_s is not None:
        parts.append(f"first byte after {format_duration(record.first_byte_s)}")
    parts.append(format_file_bytes(record.sent_bytes))
    if record.cut_by is not None:
        parts.append(f"cut short by the {record.cut_by}")
    if record.key_name is not None:
        parts.append(f"key {record.key_name}")
    return f"{', '.join(parts)} [{record.request_id}]"


def request_document(record: AccessRecord, now_s: float) -> dict[str, object]:
    """The same for programs: what NIM 1.x's JSON lines have, and the figures of the request.

    Args:
        now_s: Seconds since the epoch.
    """
    when = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds")
    level = "ERROR" if record.status >= 500 else "WARNING" if record.status >= 400 else "INFO"
    return {
        "level": level,
        "time": when,
        "file_path": "",
        "line_number": "",
        "message": describe_request(record),
        "exc_info": "",
        "stack_info": "",
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "duration_s": round(record.duration_s, 6),
        "first_byte_s": None if record.first_byte_s is None else round(record.first_byte_s, 6),
        "sent_bytes": record.sent_bytes,
        "cut_by": record.cut_by,
        "key_name": record.key_name,
        "request_id": record.request_id,
    }


def _printable(path: str) -> str:
    """A path as one word of a line: nothing in it can end the line or move a terminal's cursor."""
    return "".join(c if c.isprintable() and c != " " else f"%{ord(c):02X}" for c in path)
