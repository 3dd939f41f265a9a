"""`nimctl download` onto real file systems that are too small, out of inodes, or read-only."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from bare_weights import safetensors_file
from fake_hub import FakeHub

WEIGHTS = safetensors_file({"a": ("BF16", (2_000_000,))})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
APART = ("unshare", "--user", "--map-root-user", "--mount")
HEAD = """
disk=$1; shift
mount -t tmpfs -o {options} none "$disk" || exit 77
get() {{
    "$@" download hf://acme/toy --include '*' --cache-dir "$disk/cache" "$more"; echo "rc $?"
}}
"""


def can_mount() -> bool:
    try:
        done = subprocess.run(
            [*APART, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


pytestmark = pytest.mark.skipif(
    not can_mount(), reason="no file system can be mounted in a namespace of one's own here"
)


@pytest.fixture
def on_disk(clean_environment, tmp_path: Path):
    """Runs a script beside a fresh file system, which is gone afterwards; gives its words."""

    def run(options: str, script: str, hub: FakeHub) -> str:
        disk = tmp_path / "disk"
        disk.mkdir()
        whole = HEAD.format(options=options) + script.replace("get", 'get "$@"')
        nimctl = [sys.executable, "-m", "nimctl"]
        done = subprocess.run(
            [*APART, "sh", "-c", "more=--progress=none;" + whole, "sh", str(disk), *nimctl],
            capture_output=True, text=True, check=False, timeout=100, cwd=tmp_path,
            env=clean_environment | {"HF_ENDPOINT": hub.url},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def hub():
    with FakeHub() as hub:
        hub.add_model("acme/toy", {"model.safetensors": WEIGHTS})
        yield hub


def test_a_disk_too_small_is_told_before_the_first_byte(on_disk, hub):
    script = """
    get; find "$disk/cache/blobs" -type f
    mount -o remount,size=40m "$disk"; get
    sha256sum "$disk"/cache/snapshots/hf/acme/toy/*/model.safetensors
    """
    told = on_disk("size=3m", script, hub)
    assert told.index("rc 10") < told.index("rc 0") < told.index(SHA256)
    assert "MB" in told and "free" in told
    assert hub.served("acme/toy", "model.safetensors") <= 2 * len(WEIGHTS)


def test_a_disk_without_inodes(on_disk, hub):
    script = """
    get; mount -o remount,nr_inodes=1000 "$disk"; get
    sha256sum "$disk"/cache/snapshots/hf/acme/toy/*/model.safetensors
    """
    told = on_disk("size=40m,nr_inodes=14", script, hub)
    assert told.index("rc 10") < told.index("rc 0") < told.index(SHA256)
    assert "the disk of the cache is full" in told


def test_a_disk_that_became_read_only(on_disk, hub):
    script = """
    mkdir "$disk/cache"; mount -o remount,ro "$disk"; get
    mount -o remount,rw "$disk"; get
    mount -o remount,ro "$disk"; more=--offline; get
    """
    told = on_disk("size=40m", script, hub)
    assert told.index("rc 4") < told.index("rc 0")
    assert told.count("rc 0") == 2
    assert "Read-only file system" in told
