"""Every command on the real model: what it prints, how it fails, and what it leaves behind."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai
import pytest

pytestmark = pytest.mark.slow

MODEL = "huggingfacetb/smollm2-135m-instruct"
WAIT_S = 60


def wait_until(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


class TestDownload:
    def test_the_file_is_where_it_says(self, downloaded):
        folder = Path(downloaded.stdout.strip())
        (file,) = (path for path in folder.rglob("*") if path.is_file())
        assert file.stat().st_size == 98_362_432
        assert "verified" in downloaded.stderr

    def test_a_second_time_nothing_is_fetched(self, downloaded, nimctl):
        again = nimctl("download", MODEL, "--offline")
        assert again.returncode == 0
        assert again.stdout == downloaded.stdout
        assert not again.stderr

    def test_offline_without_the_file_is_a_clear_error(self, nimctl, tmp_path):
        result = nimctl("download", MODEL, "--offline", "--cache-dir", str(tmp_path / "empty"))
        assert result.returncode == 3
        assert "its files are not in the cache, and offline nobody may be asked" in result.stderr

    def test_killed_and_started_again_it_finishes(self, environment, nimctl, tmp_path):
        cache = ("--cache-dir", str(tmp_path / "cache"))
        first = subprocess.Popen(
            [sys.executable, "-m", "nimctl", "download", MODEL, *cache],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: any((tmp_path / "cache").rglob("*.part")) or first.poll() is not None)
        first.kill()
        first.wait(WAIT_S)
        again = nimctl("download", MODEL, *cache, "--json", timeout=600)
        assert again.returncode == 0, again.stderr
        (file,) = json.loads(again.stdout)["entries"][0]["files"]
        assert file["sha256"].startswith("b179c952")


class TestServe:
    def test_sigterm_stops_everything_within_seconds(self, start_server):
        server = start_server().wait_until_ready()
        pids = server.descendants()
        assert len(pids) >= 2
        began_s = time.monotonic()
        server.process.terminate()
        code, _ = server.end()
        assert code == 0
        assert time.monotonic() - began_s < 10
        wait_until(lambda: not any(map(is_alive, pids)))

    def test_ctrl_c_stops_everything(self, start_server):
        server = start_server().wait_until_ready()
        pids = server.descendants()
        server.process.send_signal(signal.SIGINT)
        assert server.end()[0] == 0
        wait_until(lambda: not any(map(is_alive, pids)))

    def test_sigkill_leaves_no_engine(self, start_server):
        server = start_server().wait_until_ready()
        pids = server.descendants()
        server.process.kill()
        server.end()
        wait_until(lambda: not any(map(is_alive, pids)))

    def test_an_engine_that_is_killed_ends_the_server_with_its_cause(self, start_server):
        server = start_server(NIMCTL_RESTART_LIMIT="0").wait_until_ready()
        os.kill(server.descendants()[-1], signal.SIGKILL)
        code, errors = server.end()
        assert code == 5
        assert "SIGKILL" in errors
        assert "Traceback" not in errors

    def test_an_engine_that_is_killed_is_started_again(self, start_server):
        server = start_server().wait_until_ready()
        os.kill(server.descendants()[-1], signal.SIGKILL)
        said = server.wait_for("restarting")
        assert "SIGKILL" in said["cause"]
        assert server.wait_for("ready_again")["url"] == server.url
        body = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 4}
        assert httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).status_code == 200

    def test_a_taken_port_is_said_with_a_way_out(self, nimctl, downloaded):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = nimctl("serve", MODEL, "--port", str(port))
        assert result.returncode == 2
        assert str(port) in result.stderr
        assert "--port" in result.stderr

    def test_an_argument_the_engine_does_not_know_is_said(self, nimctl, downloaded):
        result = nimctl("serve", MODEL, "--port", "0", "--", "--no-such-argument")
        assert result.returncode == 5
        assert "--no-such-argument" in result.stderr
        assert "Traceback" not in result.stderr

    def test_a_home_that_cannot_be_written_is_said(self, nimctl, downloaded, tmp_path):
        (tmp_path / "file").touch()
        state = str(tmp_path / "file" / "state")
        result = nimctl("serve", MODEL, "--port", "0", XDG_STATE_HOME=state)
        assert result.returncode == 2
        assert "XDG_STATE_HOME" in result.stderr
        assert "Traceback" not in result.stderr

    def test_native_arguments_reach_the_engine(self, start_server):
        server = start_server("--", "--ctx-size", "512", "--parallel", "1").wait_until_ready()
        with pytest.raises(httpx.HTTPStatusError):
            httpx.post(
                f"{server.url}/v1/completions",
                json={"model": MODEL, "prompt": "word " * 600, "max_tokens": 1},
                timeout=WAIT_S,
            ).raise_for_status()

    def test_a_key_is_asked_for(self, start_server, tmp_path):
        file = tmp_path / "keys"
        file.write_text("first-key\nsecond-key\n")
        server = start_server("--api-key-file", str(file)).wait_until_ready()
        for key in ("first-key", "second-key"):
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key)
            assert client.models.list().data
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong").models.list()
        assert httpx.get(f"{server.url}/v1/health/ready").status_code == 200

    def test_weights_that_were_damaged_are_never_served_and_are_fetched_again(
        self, nimctl, tmp_path
    ):
        cache = ("--cache-dir", str(tmp_path / "cache"))
        folder = Path(nimctl("download", MODEL, *cache, timeout=600).stdout.strip())
        (file,) = (path for path in folder.rglob("*") if path.is_file())
        whole = hashlib.sha256(file.read_bytes()).hexdigest()
        file.chmod(0o600)
        with file.open("r+b") as stream:
            stream.write(b"NOPE")
        result = nimctl("serve", MODEL, "--port", "0", "--offline", *cache)
        assert result.returncode == 11
        assert "Traceback" not in result.stderr
        assert nimctl("download", MODEL, *cache, timeout=600).returncode == 0
        assert hashlib.sha256(file.read_bytes()).hexdigest() == whole


class TestBench:
    def test_a_model_is_served_measured_and_stopped(self, nimctl, downloaded):
        result = nimctl(
            "bench", MODEL, "-c", "2", "-n", "4", "--output-tokens", "16", "--json", timeout=300
        )
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)
        assert report["request_count"]["avg"] == 4
        assert report["time_to_first_token"]["p50"] > 0
        assert report["output_token_throughput"]["avg"] > 0

    def test_a_server_is_measured_at_its_url(self, nimctl, server):
        result = nimctl("bench", "--url", server.url, "-n", "2", "--output-tokens", "8")
        assert result.returncode == 0, result.stderr
        for part in ("time to first token", "inter-token latency", "output throughput", "p99"):
            assert part in result.stdout

    def test_a_model_that_cannot_be_served_passes_its_exit_code_on(self, nimctl):
        result = nimctl("bench", MODEL, "--engine", "vllm")
        assert result.returncode == 3
        assert result.stderr.count("error:") == 1
