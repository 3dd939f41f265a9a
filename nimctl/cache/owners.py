"""Which process made a file, and whether it still lives, as far as that can be seen from here."""

import os
import platform
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process, named so that no later one is taken for it.

    Attributes:
        machine: The machine until it is started again, 8 hex digits.
        namespace: The kernel's name of the numbers of processes that `pid` is one of.
        started: When it was started, in the kernel's count; empty where that is unknown.
    """

    machine: str
    namespace: str
    pid: int
    started: str

    def __str__(self) -> str:
        return f"{self.machine} {self.namespace} {self.pid} {self.started}"

    @property
    def lives(self) -> bool | None:
        """Whether the process is there; None where it cannot be seen from here."""
        if (self.machine, self.namespace) != (name_machine(), _name_namespace()):
            return None
        started = name_process(self.pid)
        return started == self.started if started or self.started else _exists(self.pid)


def this_process() -> Owner:
    """This process."""
    return Owner(
        machine=name_machine(),
        namespace=_name_namespace(),
        pid=os.getpid(),
        started=name_process(os.getpid()),
    )


def parse_owner(text: str) -> Owner | None:
    """What `str` of an owner gave; None where it is something else."""
    match text.split(" "):
        case [machine, namespace, pid, started] if pid.isdecimal():
            return Owner(machine=machine, namespace=namespace, pid=int(pid), started=started)
        case _:
            return None


def name_machine() -> str:
    """Names this machine until it is started again, 8 hex digits."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        name = platform.node()
    return sha256(name.encode()).hexdigest()[:8]


def name_process(pid: int) -> str:
    """When a process was started, field 22 of /proc/PID/stat (proc(5)); empty where unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def measure_silence_s(path: Path) -> float:
    """How long nothing was heard of the owner of a file, who touches it now and then.

    Its disk may be that of another machine, whose clock differs from the one here, and this one
    may have jumped: the disk itself is asked what time it is.

    Raises:
        FileNotFoundError: the file is gone.
    """
    return _ask_disk_for_time_s(path.parent) - path.lstat().st_mtime


def _ask_disk_for_time_s(folder: Path) -> float:
    from tempfile import TemporaryFile  # every command imports this module, and few need that

    try:
        with TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:  # it is full, or may only be read
        return time.time()


def _name_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "-"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
