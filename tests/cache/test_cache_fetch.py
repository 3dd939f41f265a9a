"""The cache against a hub: right bytes or a clear error, whatever happens on the way."""

import hashlib
import random
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fake_hub import FakeHub, Fault
from hypothesis import given, settings
from hypothesis import strategies as st

from nimctl.cache import (
    BLOCK_BYTES,
    Cache,
    FetchAdvanced,
    FetchRequest,
    FileDone,
    Note,
    Progress,
    Retrying,
    RetryPolicy,
    ignore_progress,
)
from nimctl.cache.upkeep import Upkeep
from nimctl.core.source import Digest, PinnedFile, Source, parse_source_uri
from nimctl.errors import (
    AccessDeniedError,
    DigestMismatchError,
    DiskFullError,
    FetchError,
)
from nimctl.sources import SourceAccess, open_source

WEIGHTS = random.Random(1).randbytes(200_000)
BIG = random.Random(4).randbytes(3 * BLOCK_BYTES + 777)
FILES = {
    "config.json": b'{"model_type": "toy"}',
    "model.safetensors": WEIGHTS,
    "gguf/toy.gguf": random.Random(2).randbytes(50_000),
}
TOY = parse_source_uri("hf://acme/toy")
ALL = FetchRequest(uri=TOY)
ONE = FetchRequest(uri=replace(TOY, file="model.safetensors"))
QUICK = RetryPolicy(attempts=4, first_wait_s=0.01, longest_asked_wait_s=2.0)


def make_cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", patience=QUICK)


@contextmanager
def source_of(hub: FakeHub, cache: Cache, *, stall_timeout_s: float = 5.0) -> Iterator[Source]:
    access = SourceAccess(
        scratch_folder=cache.scratch_folder,
        python=Path(sys.executable),
        hf_endpoint=hub.url,
        stall_timeout_s=stall_timeout_s,
    )
    with closing(open_source(TOY, access)) as source:
        yield source


def fetch(
    hub: FakeHub, cache: Cache, request: FetchRequest = ALL, *, stall_timeout_s: float = 5.0
) -> tuple[dict[str, bytes], list[Progress]]:
    """The files under their names, and everything that was told."""
    events: list[Progress] = []
    with source_of(hub, cache, stall_timeout_s=stall_timeout_s) as source:
        entry = cache.fetch(request, source, events.append)
    return {file.path: (entry.path / file.path).read_bytes() for file in entry.files}, events


def whole_files(cache: Cache) -> list[Path]:
    """Everything that has a final name."""
    blobs, snapshots = cache.root / "blobs", cache.root / "snapshots"
    return [p for top in (blobs, snapshots) for p in top.rglob("*") if not p.is_dir()]


def parts(cache: Cache) -> list[Path]:
    return list((cache.root / "partial").glob("*.part"))


def kept_bytes(hub: FakeHub, cache: Cache) -> int:
    """What is here of the big file."""
    with source_of(hub, cache) as source:
        return cache.plan_fetch(FetchRequest(uri=TOY, pinned=(pin(BIG),)), source).kept_bytes


def pin(content: bytes, path: str = "model.safetensors") -> PinnedFile:
    digest = Digest(algorithm="sha256", hex=hashlib.sha256(content).hexdigest())
    return PinnedFile(path=path, size_bytes=len(content), digest=digest)


def test_everything_is_brought_and_shares_its_bytes(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    cache = make_cache(tmp_path)
    contents, events = fetch(hub, cache)
    assert contents == FILES
    entry = cache.find(ALL)
    assert entry is not None
    assert entry.revision == hub.models["acme/toy"].commit
    for file in entry.files:
        blob = cache.root / "blobs" / "sha256" / file.sha256[:2] / file.sha256
        assert file.sha256 == hashlib.sha256(FILES[file.path]).hexdigest()
        assert (entry.path / file.path).samefile(blob)
        assert stat.S_IMODE(blob.stat().st_mode) == 0o444
    assert stat.S_IMODE(cache.root.stat().st_mode) == 0o700
    assert parts(cache) == []
    done = [event for event in events if isinstance(event, FileDone)]
    assert {event.path for event in done} == set(FILES)
    usage = Upkeep(cache).usage()
    assert usage.blob_bytes == entry.size_bytes == sum(map(len, FILES.values()))
    assert usage.entries == (entry,)


def test_what_is_here_is_not_brought_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    cache = make_cache(tmp_path)
    fetch(hub, cache)
    served = dict(hub.sent_bytes)
    fetch(hub, cache)
    fetch(hub, cache, ONE)
    assert hub.sent_bytes == served


def test_what_cannot_change_is_found_without_asking(hub: FakeHub, tmp_path: Path) -> None:
    commit = hub.add_model("acme/toy", FILES).commit
    cache = make_cache(tmp_path)
    pinned = FetchRequest(uri=TOY, pinned=(pin(WEIGHTS),))
    fixed = FetchRequest(uri=replace(TOY, revision=commit))
    for request in (pinned, fixed):
        fetch(hub, cache, request)
        before = len(hub.seen)
        fetch(hub, cache, request)
        assert len(hub.seen) == before


def test_the_folder_of_a_fixed_revision_is_known_beforehand(hub: FakeHub, tmp_path: Path) -> None:
    commit = hub.add_model("acme/toy", FILES).commit
    cache = make_cache(tmp_path)
    fixed = FetchRequest(uri=replace(TOY, revision=commit), pinned=(pin(WEIGHTS),))
    before = cache.expected_path(fixed)
    fetch(hub, cache, fixed)
    entry = cache.find(fixed)
    assert entry is not None
    assert entry.path == before


def test_equal_files_are_brought_and_stored_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {"a.gguf": WEIGHTS, "b.gguf": WEIGHTS})
    cache = make_cache(tmp_path)
    contents, _ = fetch(hub, cache)
    assert contents == {"a.gguf": WEIGHTS, "b.gguf": WEIGHTS}
    assert hub.served("acme/toy", "a.gguf") + hub.served("acme/toy", "b.gguf") == len(WEIGHTS)
    assert Upkeep(cache).usage().blob_bytes == len(WEIGHTS)


def test_an_empty_file_and_an_empty_model(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {"empty.txt": b""})
    assert fetch(hub, make_cache(tmp_path))[0] == {"empty.txt": b""}
    hub.add_model("acme/toy", {})
    with pytest.raises(FetchError, match="holds no files"):
        fetch(hub, make_cache(tmp_path))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ONE, {"model.safetensors"}),
        (FetchRequest(uri=TOY, include=("*.gguf", "*.json")), {"gguf/toy.gguf", "config.json"}),
        (FetchRequest(uri=TOY, pinned=(pin(WEIGHTS),)), {"model.safetensors"}),
    ],
)
def test_only_what_was_asked_for_is_brought(
    hub: FakeHub, tmp_path: Path, request_: FetchRequest, expected: set[str]
) -> None:
    hub.add_model("acme/toy", FILES)
    contents, _ = fetch(hub, make_cache(tmp_path), request_)
    assert set(contents) == expected


def test_a_file_that_is_not_there_is_named_with_the_nearest(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    request = FetchRequest(uri=replace(TOY, file="model.safetensor"))
    with pytest.raises(FetchError, match=r"holds no file 'model.safetensor'") as caught:
        fetch(hub, make_cache(tmp_path), request)
    assert caught.value.hint == "it has model.safetensors"


def test_a_fetch_cut_anywhere_ends_in_the_same_bytes(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {"model.safetensors": BIG})
    places = st.integers(0, len(BIG) - 1)
    with source_of(hub, make_cache(tmp_path)) as source:

        @settings(max_examples=20)
        @given(cuts=st.lists(places, max_size=6))
        def law(cuts: list[int]) -> None:
            with TemporaryDirectory(dir=tmp_path) as folder:
                check_cut_fetch(hub, source, Cache(Path(folder, "cache"), patience=QUICK), cuts)

        law()


def check_cut_fetch(hub: FakeHub, source: Source, cache: Cache, cuts: list[int]) -> None:
    """Fetch until it is done while the connection ends at each of `cuts`."""
    counted: list[int] = []
    halves: list[Path] = []
    served = hub.served("acme/toy", "model.safetensors")
    failed = 0
    for cut in cuts:
        hub.add_fault("model.safetensors", Fault(kind="drop", at_byte=cut))

    def watch(event: Progress) -> None:
        if isinstance(event, FetchAdvanced):
            counted.append(event.done_bytes)
        halves.extend(path for path in whole_files(cache) if path.read_bytes() != BIG)

    entry = None
    while entry is None:
        try:
            entry = cache.fetch(ONE, source, watch)
        except FetchError:
            failed += 1
            assert whole_files(cache) == []
    assert (entry.path / "model.safetensors").read_bytes() == BIG
    assert halves == []
    assert counted == sorted(counted)
    brought = hub.served("acme/toy", "model.safetensors") - served
    assert len(BIG) <= brought <= len(BIG) + failed * BLOCK_BYTES


def test_a_damaged_transfer_is_repeated(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    hub.add_fault("model.safetensors", Fault(kind="corrupt", at_byte=1234))
    cache = make_cache(tmp_path)
    contents, events = fetch(hub, cache, ONE)
    assert contents["model.safetensors"] == WEIGHTS
    assert any(isinstance(event, Note) and "damaged" in event.text for event in events)


@pytest.mark.parametrize(
    ("places", "words"), [((5, 5), "each time, but"), ((5, 6), "different bytes arrive")]
)
def test_damage_that_stays_is_an_error_and_never_visible(
    hub: FakeHub, tmp_path: Path, places: tuple[int, int], words: str
) -> None:
    hub.add_model("acme/toy", FILES)
    for place in places:
        hub.add_fault("model.safetensors", Fault(kind="corrupt", at_byte=place))
    cache = make_cache(tmp_path)
    with pytest.raises(DigestMismatchError, match=words):
        fetch(hub, cache, ONE)
    assert whole_files(cache) == []
    assert len(list((cache.root / "quarantine").iterdir())) == 1
    assert fetch(hub, cache, ONE)[0]["model.safetensors"] == WEIGHTS


def test_another_pinned_digest_is_refused_before_any_byte(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    request = FetchRequest(uri=TOY, pinned=(pin(bytes(len(WEIGHTS))),))
    with pytest.raises(DigestMismatchError, match="is expected"):
        fetch(hub, make_cache(tmp_path), request)
    assert hub.served("acme/toy", "model.safetensors") == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=503),
        Fault(kind="status", status=429, headers={"Retry-After": "0"}),
        Fault(kind="stall", at_byte=70_000),
        Fault(kind="short", at_byte=70_000),
        Fault(kind="drop", at_byte=70_000, times=3),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_passing_fault_is_waited_out(hub: FakeHub, tmp_path: Path, fault: Fault) -> None:
    hub.add_model("acme/toy", FILES)
    hub.add_fault("model.safetensors", replace(fault))
    contents, events = fetch(hub, make_cache(tmp_path), ONE, stall_timeout_s=0.3)
    assert contents["model.safetensors"] == WEIGHTS
    assert any(isinstance(event, Retrying) for event in events)


def test_retry_after_is_honoured(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    wait = {"Retry-After": "1"}
    hub.api_faults.append(Fault(kind="status", status=429, headers=wait))
    _, events = fetch(hub, make_cache(tmp_path), ONE)
    assert [event.wait_s for event in events if isinstance(event, Retrying)] == [1.0]


def test_a_server_that_asks_for_hours_is_not_waited_for(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    wait = {"Retry-After": "7200"}
    hub.api_faults.append(Fault(kind="status", status=429, headers=wait))
    with pytest.raises(FetchError, match="429"):
        fetch(hub, make_cache(tmp_path), ONE)


def test_a_server_without_ranges_starts_anew(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    hub.add_fault("model.safetensors", Fault(kind="drop", at_byte=100_000))
    hub.add_fault("model.safetensors", Fault(kind="ignore-range"))
    contents, events = fetch(hub, make_cache(tmp_path), ONE)
    assert contents["model.safetensors"] == WEIGHTS
    counted = [event.done_bytes for event in events if isinstance(event, FetchAdvanced)]
    assert counted == sorted(counted)


@pytest.mark.parametrize("kind", ["drop", "stall", "status"])
def test_a_lasting_fault_ends_in_an_error_and_keeps_what_came(
    hub: FakeHub, tmp_path: Path, kind: str
) -> None:
    hub.add_model("acme/toy", {"model.safetensors": BIG})
    place = 2 * BLOCK_BYTES + 1000
    hub.add_fault("model.safetensors", Fault(kind=kind, at_byte=place, times=1000))
    cache = make_cache(tmp_path)
    with pytest.raises(FetchError, match="could not be fetched"):
        fetch(hub, cache, ONE, stall_timeout_s=0.2)
    assert whole_files(cache) == []
    hub.faults.clear()
    kept = kept_bytes(hub, cache)
    assert kept == (0 if kind == "status" else 2 * BLOCK_BYTES)
    assert bool(parts(cache)) is (kept > 0)
    served = hub.served("acme/toy", "model.safetensors")
    assert fetch(hub, cache, ONE)[0]["model.safetensors"] == BIG
    assert hub.served("acme/toy", "model.safetensors") - served == len(BIG) - kept
    assert list((cache.root / "partial").iterdir()) == []


def test_compressed_bytes_are_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    hub.add_fault("model.safetensors", Fault(kind="compressed"))
    with pytest.raises(FetchError, match="compressed"):
        fetch(hub, make_cache(tmp_path), ONE)


def test_a_block_that_a_power_cut_emptied_is_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {"model.safetensors": BIG})
    hub.add_fault("model.safetensors", Fault(kind="drop", at_byte=2 * BLOCK_BYTES, times=1000))
    cache = make_cache(tmp_path)
    with pytest.raises(FetchError):
        fetch(hub, cache, ONE)
    hub.faults.clear()
    (part,) = parts(cache)
    with part.open("r+b") as stream:
        stream.write(bytes(60_000))
    served = hub.served("acme/toy", "model.safetensors")
    assert fetch(hub, cache, ONE)[0]["model.safetensors"] == BIG
    assert hub.served("acme/toy", "model.safetensors") - served == len(BIG) - BLOCK_BYTES


def test_too_little_room_is_told_before_the_first_byte(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    huge = {"oid": "a" * 64, "size": 10**18, "pointerSize": 134}
    entry = {"type": "file", "path": "model.safetensors", "size": 10**18, "oid": "b" * 40}
    hub.tree = [{**entry, "lfs": huge}]
    with pytest.raises(DiskFullError, match=r"needs 1000000.0 TB more.*free"):
        fetch(hub, make_cache(tmp_path), ONE)
    assert hub.served("acme/toy", "model.safetensors") == 0


@pytest.mark.parametrize(
    "names",
    [
        ["../escape"],
        ["a/../../escape"],
        ["/etc/escape"],
        ["c:/escape"],
        ["a\\escape"],
        ["new\nline"],
        ["x" * 300],
        ["a//b"],
        ["c:escape"],
        ["c\x9b31m"],
        ["Model.gguf", "model.gguf"],
        ["caf\u00e9.json", "cafe\u0301.json"],
        ["CAF\u00c9/a.json", "cafe\u0301/A.json"],
        ["a", "a/b"],
        *([name] for name in ("CON", "prn.txt", "sub/Aux.tar.gz", "nul .json", "COM1", "lpt9.x")),
        *([name] for name in ("com\u00b9.json", "conin$", "CONOUT$.txt", "nul/config.json")),
        *([name] for name in ("model.gguf:stream", "sub/a:b", "12:30/log.json")),
        *([name] for name in ("a.", "a ", "sub./a", "sub /a", "...", "a/. ")),
        ["/".join(["d" * 200] * 6)],
        ["/".join(["\u00e9" * 100] * 21)],
        ["\ud800.json"],
        ["\udc80.json"],
    ],
)
def test_a_hostile_listing_writes_nothing(hub: FakeHub, tmp_path: Path, names: list[str]) -> None:
    hub.add_model("acme/toy", dict.fromkeys(names, b"evil"))
    cache = make_cache(tmp_path)
    with pytest.raises(FetchError, match=r"could leave|cannot exist together|not every disk"):
        fetch(hub, cache)
    assert whole_files(cache) == []
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_names_that_models_have_are_brought(hub: FakeHub, tmp_path: Path) -> None:
    names = [
        *(".gitattributes", ".hidden/config.json", "Model Card (1).md", "a  b/c d.gguf"),
        *("\u6a21\u578b/\u6743\u91cd.gguf", "cafe\u0301.json", "\U0001f917.txt", "\u00df.txt"),
        *("100%.txt", "#1 [x] {y}.json", "a=1,b=2;c+d@e&f!.json", "it's.txt", "~$x", "a?b*c.txt"),
        *(
            "console.json",
            "auxiliary/nullable.txt",
            "com.json",
            "com10",
            "lpt0.x",
            "x.con",
            "con_a",
        ),
        *(
            "tokenizer...json",
            "v1..2",
            "-rf",
            "--help",
            "...hidden",
            " x",
            "d" * 200 + "/" + "e" * 255,
        ),
    ]
    files = {name: name.encode() for name in names}
    hub.add_model("acme/toy", files)
    assert fetch(hub, make_cache(tmp_path))[0] == files


def test_a_name_of_what_is_not_wanted_does_no_harm(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {**FILES, "runs/12:30:00/events.json": b"log"})
    cache = make_cache(tmp_path)
    with pytest.raises(FetchError, match=r"'runs/12:30:00/events.json', which not every") as caught:
        fetch(hub, cache)
    assert "--exclude" in (caught.value.hint or "")
    assert fetch(hub, cache, ONE)[0] == {"model.safetensors": WEIGHTS}
    assert fetch(hub, cache, FetchRequest(uri=TOY, exclude=("runs/*",)))[0] == FILES


def test_a_cache_whose_path_is_too_long_for_a_name_is_told(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", {"/".join(["d" * 200] * 4): b"{}"})
    deep = tmp_path.joinpath(*["cache" * 40] * 18)
    deep.mkdir(parents=True)
    cache = Cache(deep, patience=QUICK)
    with pytest.raises(FetchError, match="is too long for the disk") as caught:
        fetch(hub, cache)
    assert "shorter path" in (caught.value.hint or "")


@pytest.mark.parametrize("size", [10, 10**7])
def test_a_lie_about_the_size_is_found_out(hub: FakeHub, tmp_path: Path, size: int) -> None:
    hub.add_model("acme/toy", FILES)
    lfs = {"oid": hashlib.sha256(WEIGHTS).hexdigest(), "size": size, "pointerSize": 134}
    entry = {"type": "file", "path": "model.safetensors", "size": size, "oid": "b" * 40}
    hub.tree = [{**entry, "lfs": lfs}]
    cache = make_cache(tmp_path)
    with pytest.raises(FetchError, match=r"200000 bytes|416"):
        fetch(hub, cache)
    assert whole_files(cache) == []


def test_a_listed_digest_that_is_a_path_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    lfs = {"oid": "../../../escape", "size": 4, "pointerSize": 134}
    entry = {"type": "file", "path": "model.safetensors", "size": 4, "oid": "b" * 40}
    hub.tree = [{**entry, "lfs": lfs}]
    with pytest.raises(FetchError, match="does not answer like"):
        fetch(hub, make_cache(tmp_path))


def test_planted_links_are_never_followed(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    cache = make_cache(tmp_path)
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(len(WEIGHTS)))
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    planted = [
        cache.root / "blobs" / "sha256" / sha256[:2] / sha256,
        cache.root / "partial" / f"sha256-{sha256}.00000000-00000000.part",
    ]
    for link in planted:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(victim)
    assert fetch(hub, cache, ONE)[0]["model.safetensors"] == WEIGHTS
    assert victim.read_bytes() == bytes(len(WEIGHTS))
    assert not planted[0].is_symlink()


def test_a_planted_folder_link_is_an_error(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    cache = make_cache(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cache.root.mkdir()
    (cache.root / "blobs").symlink_to(elsewhere)
    with pytest.raises(FetchError, match="should be a folder"):
        fetch(hub, cache)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("kind", ["cut", "gone", "name gone", "name cut"])
def test_a_damaged_cache_is_repaired(hub: FakeHub, tmp_path: Path, kind: str) -> None:
    hub.add_model("acme/toy", FILES)
    cache = make_cache(tmp_path)
    fetch(hub, cache, ONE)
    entry = cache.find(ONE)
    assert entry is not None
    (file,) = entry.files
    blob = cache.root / "blobs" / "sha256" / file.sha256[:2] / file.sha256
    name = entry.path / file.path
    damaged = name if kind.startswith("name") else blob
    damaged.unlink()
    if kind.endswith("cut"):
        damaged.write_bytes(b"half")
    assert cache.find(ONE) is None
    assert fetch(hub, cache, ONE)[0]["model.safetensors"] == WEIGHTS


def test_finding_writes_nothing(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    cache = make_cache(tmp_path)
    assert cache.find(ALL) is None
    assert Upkeep(cache).usage().blob_bytes == 0
    assert not cache.root.exists()
    fetch(hub, cache)
    before = {path: path.lstat().st_ctime_ns for path in cache.root.rglob("*")}
    assert cache.find(ALL) is not None
    assert {path: path.lstat().st_ctime_ns for path in cache.root.rglob("*")} == before


def test_a_plan_tells_what_is_kept(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    cache = make_cache(tmp_path)
    hub.add_model("acme/toy", {**FILES, "model.safetensors": BIG})
    pinned = FetchRequest(uri=TOY, pinned=(pin(BIG),))
    with source_of(hub, cache) as source:
        plan = cache.plan_fetch(pinned, source)
        assert (plan.total_bytes, plan.download_bytes) == (len(BIG), len(BIG))
        assert hub.seen == []
        hub.add_fault("model.safetensors", Fault(kind="drop", at_byte=BLOCK_BYTES, times=1000))
        with pytest.raises(FetchError):
            cache.fetch(pinned, source)
        assert cache.plan_fetch(pinned, source).download_bytes == len(BIG) - BLOCK_BYTES
        hub.faults.clear()
        cache.fetch(pinned, source)
        assert cache.plan_fetch(pinned, source).download_bytes == 0
        everything = cache.plan_fetch(ALL, source)
    assert {file.path: file.kept_bytes for file in everything.files} == {
        "config.json": 0,
        "model.safetensors": len(BIG),
        "gguf/toy.gguf": 0,
    }


def test_a_hub_that_is_gone_does_not_take_away_what_is_here(tmp_path: Path) -> None:
    cache = make_cache(tmp_path)
    with FakeHub() as hub:
        hub.add_model("acme/toy", FILES)
        fetch(hub, cache)
    contents, events = fetch(hub, cache)
    assert contents == FILES
    assert any(isinstance(event, Note) and "using revision" in event.text for event in events)


def test_offline_names_what_is_missing(hub: FakeHub, tmp_path: Path) -> None:
    cache = make_cache(tmp_path)
    pinned = FetchRequest(uri=TOY, pinned=(pin(WEIGHTS),))
    with (
        source_of(hub, cache) as source,
        pytest.raises(FetchError, match=r"model.safetensors of hf://acme/toy is not in the cache"),
    ):
        cache.fetch(pinned, source, ignore_progress, offline=True)
    assert hub.seen == []


def test_a_gated_model_tells_where_to_accept_its_licence(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES, gated=True)
    with pytest.raises(AccessDeniedError, match="is gated") as caught:
        fetch(hub, make_cache(tmp_path))
    assert f"{hub.url}/acme/toy" in (caught.value.hint or "")
    assert "HF_TOKEN" in (caught.value.hint or "")


def test_a_cache_of_another_layout_is_left_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_model("acme/toy", FILES)
    cache = make_cache(tmp_path)
    cache.root.mkdir()
    (cache.root / "VERSION").write_text("99\n")
    with pytest.raises(FetchError, match="layout 99"):
        fetch(hub, cache)
