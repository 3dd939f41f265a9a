"""What sources may use: addresses, secrets, an interpreter with pip, a folder for scratch files."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceAccess:
    """Everything a source takes from outside, as plain values.

    Attributes:
        scratch_folder: Where a source may keep what it needs until `close`.
        python: The interpreter whose pip, and whose settings of pip, fetch packages.
        uv: The program that fetches packages where that interpreter has no pip.
        hf_endpoint: Address of the Hugging Face hub.
        hf_token: Token of a Hugging Face account.
        hf_xet: Take large files of a hub out of its Xet storage.
        ngc_endpoint: Address of NGC's API.
        ngc_auth_endpoint: Where NGC gives out tokens for keys of the old kind.
        ngc_key: Key of an NGC account.
        modelscope_endpoint: Address of ModelScope.
        ca_file: Certificates of authorities to trust in place of this machine's own.
        stall_timeout_s: A connection that stays silent for so long counts as lost.
    """

    scratch_folder: Path
    python: Path
    uv: Path | None = None
    hf_endpoint: str = "https://huggingface.co"
    hf_token: str | None = field(default=None, repr=False)
    hf_xet: bool = False
    ngc_endpoint: str = "https://api.ngc.nvidia.com"
    ngc_auth_endpoint: str = "https://authn.nvidia.com"
    ngc_key: str | None = field(default=None, repr=False)
    modelscope_endpoint: str = "https://www.modelscope.cn"
    ca_file: Path | None = None
    stall_timeout_s: float = 10.0
