"""Shows that NVIDIA's own client lists and downloads from the fake NGC; not part of the suite.

Run it with a Python that has `ngcsdk` (150 MB): `python tests/sources/check_ngcsdk.py`.
"""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_ngc import NAME, ORG, TEAM, VERSION, FakeNgc

TARGET = f"{ORG}/{TEAM}/{NAME}:{VERSION}"
CERTIFICATES = Path(__file__).with_name("certificates")
FILES = {
    "config.json": b"{}",
    "sub/tokenizer.json": b"[]",
    "model-00001.safetensors": random.Random(1).randbytes(3_000_000),
}
PROGRAM = """
import sys
from ngcsdk import Client
model = Client().registry.model
print(sorted(file.path for file in model.list_files(sys.argv[1])))
print(model.download_version(sys.argv[1], destination=sys.argv[2]))
"""


def run_client(ngc: FakeNgc, key: str) -> None:
    """Let the client bring the model, and compare every byte."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "NGC_CLI_API_URL": ngc.api_url,
            "NGC_CLI_AUTH_URL": ngc.auth_url,
            "NGC_CLI_API_KEY": key,
            "NGC_CLI_ORG": ORG,
            "NGC_CLI_TEAM": TEAM,
            "NGC_CLI_HOME": folder,
            "REQUESTS_CA_BUNDLE": str(CERTIFICATES / "authority.pem"),
            "HOME": folder,
        }
        child = subprocess.run(
            [sys.executable, "-c", PROGRAM, TARGET, folder],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        print(child.stdout[-1000:], child.stderr[-3000:])
        brought = {
            path: next((file.read_bytes() for file in Path(folder).glob(f"{NAME}*/{path}")), None)
            for path in FILES
        }
    if child.returncode or brought != FILES:
        print([(seen.origin, seen.method, seen.path) for seen in ngc.seen])
        raise SystemExit(f"the client with the key {key!r} did not bring the model")
    print(f"{key!r}: {len(ngc.requests('api'))} requests to the API, all bytes are right")


def main() -> None:
    """With a key of each kind."""
    for key in ("nvapi-" + "x" * 64, "c" * 84):
        # The client speaks TLS to the API, whatever address it is given.
        with FakeNgc(FILES, certificate=CERTIFICATES / "good.pem") as ngc:
            ngc.page_size = 2
            run_client(ngc, key)


if __name__ == "__main__":
    main()
