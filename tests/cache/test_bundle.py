"""A bundle carries models to a machine without a network, and nothing that was tampered with."""

import hashlib
import io
import json
import os
import random
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nimctl.cache import Cache, CacheEntry, FetchRequest, RetryPolicy
from nimctl.cache.adopting import adopt_model
from nimctl.cache.bundle import write_bundle
from nimctl.cache.bundle_outputs import FolderOutput, TarOutput
from nimctl.cache.foreign import ForeignFile, ForeignModel
from nimctl.cache.moving import write_moving
from nimctl.core.source import SourceUri, parse_source_uri
from nimctl.errors import DigestMismatchError, FetchError, InputError
from nimctl.sources.oci import Bundle, OciSource

FILES = {
    "config.json": b'{"model_type": "toy"}',
    "model.safetensors": random.Random(5).randbytes(150_000),
    "sub/notes.txt": b"",
}
TOY = SourceUri(scheme="hf", location="acme/toy")
COMMIT = "c" * 40
QUICK = RetryPolicy(attempts=2, first_wait_s=0.01, longest_asked_wait_s=0.1)


def fill(cache: Cache, files: dict[str, bytes], folder: Path, commit: str = COMMIT) -> CacheEntry:
    """An entry of `hf://acme/toy` without any hub."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    model = ForeignModel(
        tool="test",
        uri=replace(TOY, revision=commit),
        revision=commit,
        files=tuple(
            ForeignFile(path=path, location=folder / path, size_bytes=len(content), digest=None)
            for path, content in files.items()
        ),
        moving=(None,),
        is_whole=True,
    )
    entry = adopt_model(cache.root, model, lambda file: None).entry
    assert entry is not None
    return entry


def export(cache: Cache, entries: tuple[CacheEntry, ...], path: Path, **more: object) -> Path:
    """A bundle of them: a tar where `path` ends like one."""
    if path.suffix != ".tar":
        write_bundle(cache.root, entries, FolderOutput(path), **more)
        return path
    with path.open("wb") as stream:
        output = TarOutput(stream.fileno())
        write_bundle(cache.root, entries, output, **more)
        output.close()
    return path


def bring(path: Path, cache: Cache) -> dict[str, bytes]:
    """The files of the only model of the bundle, through the cache."""
    bundle = Bundle(path)
    (model,) = bundle.models
    source = OciSource(bundle=bundle, model=model)
    entry = cache.fetch(FetchRequest(uri=model.uri), source)
    write_moving(cache.root, entry, model.moving)
    return {file.path: (entry.path / file.path).read_bytes() for file in entry.files}


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, CacheEntry]:
    folder = tmp_path_factory.mktemp("exporter")
    cache = Cache(folder / "cache")
    return cache, fill(cache, FILES, folder / "files")


@pytest.fixture(params=["bundle", "bundle.tar"])
def bundle_path(
    request: pytest.FixtureRequest, exporter: tuple[Cache, CacheEntry], tmp_path: Path
) -> Path:
    cache, entry = exporter
    return export(cache, (entry,), tmp_path / request.param)


def test_what_was_exported_is_found_on_the_other_machine(bundle_path: Path, tmp_path: Path) -> None:
    other = Cache(tmp_path / "other", patience=QUICK)
    assert bring(bundle_path, other) == FILES
    for address in ("hf://acme/toy", f"hf://acme/toy:{COMMIT}"):
        found = other.find(FetchRequest(uri=parse_source_uri(address)))
        assert found is not None and found.revision == COMMIT


def test_a_bundle_is_an_oci_layout_that_sha256sum_checks(
    exporter: tuple[Cache, CacheEntry], tmp_path: Path
) -> None:
    cache, entry = exporter
    tar = export(cache, (entry,), tmp_path / "bundle.tar")
    assert tar.read_bytes() == export(cache, (entry,), tmp_path / "again.tar").read_bytes()
    with tarfile.open(tar) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = tmp_path / "unpacked"
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=unpacked, check=True)
    index = json.loads((unpacked / "index.json").read_bytes())
    (described,) = index["manifests"]
    manifest = unpacked / "blobs" / "sha256" / described["digest"].removeprefix("sha256:")
    titles = [
        layer["annotations"]["org.opencontainers.image.title"]
        for layer in json.loads(manifest.read_bytes())["layers"]
    ]
    assert titles == list(FILES)
    assert bring(unpacked, Cache(tmp_path / "other")) == FILES


def test_a_folder_shares_the_bytes_of_the_cache(
    exporter: tuple[Cache, CacheEntry], tmp_path: Path
) -> None:
    cache, entry = exporter
    folder = export(cache, (entry,), tmp_path / "bundle")
    export(cache, (entry,), folder)
    for file in entry.files:
        assert (folder / "blobs" / "sha256" / file.sha256).samefile(entry.path / file.path)


def test_only_what_is_new_is_exported_and_imported(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = fill(cache, FILES, tmp_path / "one")
    newer = FILES | {"config.json": b'{"model_type": "toy", "version": 2}'}
    second = fill(cache, newer, tmp_path / "two", commit="d" * 40)
    base = export(cache, (first,), tmp_path / "base.tar")
    left_out = Bundle(base).list_blobs()
    delta = export(cache, (second,), tmp_path / "delta.tar", left_out=left_out)
    assert delta.stat().st_size < 20_000
    other = Cache(tmp_path / "other", patience=QUICK)
    with pytest.raises(FetchError, match="does not hold") as caught:
        bring(delta, other)
    assert caught.value.hint and "earlier bundle" in caught.value.hint
    bring(base, other)
    assert bring(delta, other) == newer


def test_a_cut_import_continues(bundle_path: Path, tmp_path: Path) -> None:
    """What is here is not read again: its bytes may even be gone from the bundle."""
    other = Cache(tmp_path / "other", patience=QUICK)
    (model,) = Bundle(bundle_path).models
    source = OciSource(bundle=Bundle(bundle_path), model=model)
    one = FetchRequest(uri=model.uri, include=("model.safetensors",))
    other.fetch(one, source)
    entry = other.fetch(FetchRequest(uri=model.uri), source)
    blobs = other.root / "blobs"
    assert sum(p.stat().st_size for p in blobs.rglob("*") if p.is_file()) == entry.size_bytes


def test_a_damaged_cache_is_not_exported(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    entry = fill(cache, FILES, tmp_path / "files")
    damaged = tmp_path / "files" / "model.safetensors"
    damaged.write_bytes(bytes(len(FILES["model.safetensors"])))
    with pytest.raises(DigestMismatchError, match="is damaged in the cache"):
        export(cache, (entry,), tmp_path / "bundle.tar")


def test_a_model_of_a_bundle_is_named_where_there_are_several(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = fill(cache, FILES, tmp_path / "one")
    second = fill(cache, FILES | {"a.txt": b"a"}, tmp_path / "two", commit="d" * 40)
    path = export(cache, (first, second), tmp_path / "bundle.tar")
    with pytest.raises(InputError) as caught:
        OciSource().list_files(parse_source_uri(f"oci://{path}"))
    assert caught.value.hint
    address = caught.value.hint.removeprefix("name one: ")
    listing = OciSource().list_files(parse_source_uri(address))
    assert [file.path for file in listing.files] == list(FILES)
    with pytest.raises(FetchError, match="it holds acme/toy@"):
        OciSource().list_files(parse_source_uri(f"oci://{path}:other"))


def add_member(tar: Path, info: tarfile.TarInfo, data: bytes = b"") -> None:
    """Put one more member in front of all others."""
    whole = tar.read_bytes()
    info.size = len(data) if info.isreg() else info.size
    padding = bytes(-len(data) % 512)
    tar.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + data + padding + whole)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "info",
    [
        member("../outside"),
        member("/etc/outside"),
        member("blobs/sha256/../../outside"),
        member("blobs/sha256/" + "a" * 64, tarfile.SYMTYPE, "/etc/passwd"),
        member("blobs/sha256/" + "a" * 64, tarfile.LNKTYPE, "/etc/passwd"),
        member("blobs/sha256/" + "a" * 64, tarfile.CHRTYPE),
        member("blobs/sha256/" + "a" * 64, tarfile.FIFOTYPE),
        member("blobs/sha256/" + "a" * 64, tarfile.GNUTYPE_SPARSE),
        member("index.json"),
        member("blobs", tarfile.SYMTYPE, "/etc"),
        member("x" * 200),
    ],
    ids=lambda info: f"{info.name[:30]}-{info.type!r}",
)
def test_a_tar_with_what_no_bundle_holds_is_refused(
    exporter: tuple[Cache, CacheEntry], tmp_path: Path, info: tarfile.TarInfo
) -> None:
    cache, entry = exporter
    tar = export(cache, (entry,), tmp_path / "bundle.tar")
    add_member(tar, info)
    with pytest.raises(FetchError, match="refused"):
        Bundle(tar)


def test_an_oversize_or_cut_tar_is_refused(
    exporter: tuple[Cache, CacheEntry], tmp_path: Path
) -> None:
    cache, entry = exporter
    tar = export(cache, (entry,), tmp_path / "bundle.tar")
    huge = member("blobs/sha256/" + "a" * 64)
    huge.size = 1 << 60
    whole = tar.read_bytes()
    tar.write_bytes(huge.tobuf(tarfile.GNU_FORMAT) + whole)
    with pytest.raises(FetchError, match="ends in the middle"):
        Bundle(tar)
    tar.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FetchError, match="ends in the middle"):
        Bundle(tar)


def test_links_in_a_folder_are_not_followed(
    exporter: tuple[Cache, CacheEntry], tmp_path: Path
) -> None:
    cache, entry = exporter
    folder = export(cache, (entry,), tmp_path / "bundle")
    blob = folder / "blobs" / "sha256" / entry.files[1].sha256
    blob.unlink()
    blob.symlink_to(entry.path / entry.files[1].path)
    with pytest.raises(FetchError):
        bring(folder, Cache(tmp_path / "other", patience=QUICK))
    moved = tmp_path / "moved"
    (folder / "blobs").rename(moved)
    (folder / "blobs").symlink_to(moved)
    with pytest.raises(FetchError, match="is a link"):
        Bundle(folder)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "C:/x", "a\\b", "a\nb", ""])
def test_names_of_files_that_could_climb_are_refused(
    exporter: tuple[Cache, CacheEntry], tmp_path: Path, path: str
) -> None:
    cache, entry = exporter
    hostile = replace(entry, files=(replace(entry.files[0], path=path),))
    folder = export(cache, (hostile,), tmp_path / "bundle")
    with pytest.raises(FetchError, match="could leave its folder"):
        Bundle(folder)


def test_names_that_hide_one_another_are_refused(
    exporter: tuple[Cache, CacheEntry], tmp_path: Path
) -> None:
    cache, entry = exporter
    twice = (entry.files[0], replace(entry.files[1], path="CONFIG.json"))
    folder = export(cache, (replace(entry, files=twice),), tmp_path / "bundle")
    with pytest.raises(FetchError, match="cannot exist together"):
        bring(folder, Cache(tmp_path / "other", patience=QUICK))


def test_one_flipped_bit_anywhere_never_becomes_a_file(
    exporter: tuple[Cache, CacheEntry], tmp_path: Path
) -> None:
    """Whatever byte of a bundle is changed: the right bytes, or an error, and never a wrong one."""
    cache, entry = exporter
    whole = export(cache, (entry,), tmp_path / "bundle.tar").read_bytes()
    right = {file.path: FILES[file.path] for file in entry.files}

    @settings(max_examples=60)
    @given(place=st.integers(0, len(whole) - 1), bit=st.integers(0, 7))
    def law(place: int, bit: int) -> None:
        with TemporaryDirectory(dir=tmp_path) as folder:
            tar = Path(folder, "bundle.tar")
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            tar.write_bytes(changed)
            other = Cache(Path(folder, "other"), patience=QUICK)
            try:
                got = bring(tar, other)
            except (FetchError, InputError):
                got = right
            assert got == right
            for blob in (other.root / "blobs").rglob("*"):
                if blob.is_file():
                    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name

    law()


def test_a_bundle_flows_through_a_pipe(exporter: tuple[Cache, CacheEntry], tmp_path: Path) -> None:
    cache, entry = exporter
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        output = TarOutput(writing)
        write_bundle(cache.root, (entry,), output)
        output.close()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    os.waitpid(pid, 0)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames()[0] == "oci-layout"
    (tmp_path / "bundle.tar").write_bytes(data)
    assert bring(tmp_path / "bundle.tar", Cache(tmp_path / "other")) == FILES
