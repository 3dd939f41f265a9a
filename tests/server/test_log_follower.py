"""The lines of a log as they come: over rotation, progress bars, and files that begin anew."""

from nimctl.server.guard import RotatingLog
from nimctl.server.log_follower import LogFollower


def test_only_what_comes_from_now_on_is_read(tmp_path):
    path = tmp_path / "engine.log"
    path.write_text("an earlier life\n")
    follower = LogFollower(path)
    assert follower.read_lines() == []
    with path.open("a") as log:
        log.write("one\ntwo\nhal")
        log.flush()
        assert follower.read_lines() == ["one", "two"]
        log.write("f\n")
    assert follower.read_lines() == ["half"]


def test_a_log_that_comes_later_is_followed(tmp_path):
    path = tmp_path / "engine.log"
    follower = LogFollower(path)
    assert follower.read_lines() == []
    path.write_text("first\n")
    assert follower.read_lines() == ["first"]


def test_every_state_of_a_progress_bar_is_a_line(tmp_path):
    path = tmp_path / "engine.log"
    follower = LogFollower(path)
    path.write_bytes(b"\r 0/2\r 1/2\r 2/2\ndone\n")
    assert follower.read_lines() == [" 0/2", " 1/2", " 2/2", "done"]


def test_nothing_is_lost_when_the_log_is_set_aside(tmp_path):
    path = tmp_path / "engine.log"
    log = RotatingLog(str(path), limit_bytes=100)
    follower = LogFollower(path)
    expected = [f"line {number:03}" for number in range(60)]
    found = []
    for number, line in enumerate(expected):
        log.write(f"{line}\n".encode())
        if number % 5 == 0:
            found += follower.read_lines()
    assert found + follower.read_lines() == expected
    assert path.with_name("engine.log.1").exists()
