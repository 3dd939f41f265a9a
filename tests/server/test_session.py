"""What the processes of a session take, read from this system's real /proc."""

import subprocess
import sys
import textwrap

import pytest

from nimctl.server.session import Session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

MIB = 2**20


@pytest.fixture
def run():
    """A session whose leader waits for a child that runs some code and then says so."""
    leaders = []

    def start(code):
        program = f"{textwrap.dedent(code)}\nprint('there', flush=True)\ninput()"
        leaders.append(
            subprocess.Popen(
                ["/bin/sh", "-c", '"$0" -c "$1"; :', sys.executable, program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        assert leaders[-1].stdout.readline() == "there\n"
        return Session(leaders[-1].pid)

    yield start
    for leader in leaders:
        leader.communicate("\n")


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(8 * MIB))
    return path


def test_pages_of_a_mapping_count_when_they_were_touched(run, weights):
    session = run(
        f"""
        import mmap
        file = open({str(weights)!r}, "rb")
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        mapped.madvise(mmap.MADV_RANDOM)
        sum(mapped[page] for page in range(0, {2 * MIB}, 4096))
        """
    )
    taken = session.count_taken_in({str(weights): 8 * MIB})[str(weights)]
    assert 2 * MIB <= taken <= 3 * MIB  # the system maps a few pages around each touched one


def test_what_was_read_counts(run, weights):
    session = run(f"file = open({str(weights)!r}, 'rb', buffering=0); file.read({3 * MIB})")
    assert session.count_taken_in({str(weights): 8 * MIB}) == {str(weights): 3 * MIB}


def test_files_nobody_opened_count_nothing(run, weights):
    assert run("").count_taken_in({str(weights): 8 * MIB}) == {str(weights): 0}


def test_memory_is_told_with_its_peak(run):
    before = run("").read_memory()
    session = run(f"held = b'x' * {32 * MIB}; more = b'x' * {64 * MIB}; del more")
    held = session.read_memory()
    assert 31 * MIB < held.now - before.now < 40 * MIB
    assert 60 * MIB < held.peak - held.now < 70 * MIB


def test_the_leader_is_none_of_them(run):
    session = run("sum(range(10**7))")
    assert len(session.list_pids()) == 1
    assert session.read_cpu_s() > 0
