"""Who is logged in to Hugging Face on this machine."""

from pathlib import Path


def read_hub_login() -> str | None:
    """The token that `hf auth login` keeps."""
    from huggingface_hub.constants import HF_TOKEN_PATH

    try:
        return Path(HF_TOKEN_PATH).read_text().strip() or None
    except OSError:
        return None
