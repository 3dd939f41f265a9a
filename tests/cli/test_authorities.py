"""Certificates of one's own authority, in whatever variable they are named."""

from pathlib import Path

import pytest
from bare_weights import SMALL, llama_tensors, safetensors_file
from fake_hub import FakeHub, HubHandler, StorageHandler

CERTIFICATES = Path(__file__).parents[1] / "sources" / "certificates"
AUTHORITY = str(CERTIFICATES / "authority.pem")


@pytest.fixture
def secure_hub():
    with FakeHub() as hub:
        hub.add_model("acme/toy", {"model.safetensors": safetensors_file(llama_tensors(SMALL))})
        hub.storage_url = hub.listen(StorageHandler, certificate=CERTIFICATES / "good.pem")
        yield hub.listen(HubHandler, certificate=CERTIFICATES / "good.pem")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_hub_with_a_certificate_of_ones_own_authority_is_believed(run, secure_hub, variable):
    environment = {"SSL_CERT_FILE": "", "HF_ENDPOINT": secure_hub, variable: AUTHORITY}
    result = run("download", "hf://acme/toy", "--include", "*", **environment)
    assert result.returncode == 0, result.stderr
    assert list(Path(result.stdout.strip()).iterdir())


def test_without_it_the_hub_is_refused(run, secure_hub):
    result = run(
        "download", "hf://acme/toy", "--include", "*", HF_ENDPOINT=secure_hub, SSL_CERT_FILE=""
    )
    assert result.returncode == 9
    assert "certificate" in result.stderr


def test_a_file_of_certificates_that_is_not_there_is_named(run, secure_hub):
    environment = {"SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": "/nowhere.pem"}
    result = run(
        "download", "hf://acme/toy", "--include", "*", HF_ENDPOINT=secure_hub, **environment
    )
    assert result.returncode == 4
    assert "/nowhere.pem" in result.stderr
