"""Settings of weights: where they are kept, where they come from, and with which login."""

from pathlib import Path

from nimctl.errors import InputError
from nimctl.settings import values
from nimctl.settings.key import Key
from nimctl.settings.places import user_cache_folder
from nimctl.settings.values import Secret


def _default_cache_dir() -> Path:
    folder = user_cache_folder()
    if folder is None:
        raise InputError(
            "there is no home folder to keep weights in", hint="set NIMCTL_CACHE_DIR to a folder"
        )
    return folder


FETCH_KEYS: tuple[Key, ...] = (
    Key(
        name="cache_dir",
        convert=values.path,
        default_from=_default_cache_dir,
        environment=("NIMCTL_CACHE_DIR", "NIM_CACHE_PATH"),
        help="Where weights are kept.",
    ),
    Key(
        name="offline",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_OFFLINE", "HF_HUB_OFFLINE", "NIM_DISABLE_MODEL_DOWNLOAD"),
        help="Use only what is on this disk; open no connection.",
    ),
    Key(
        name="mirrors",
        convert=values.mirrors,
        default=(),
        environment=("NIMCTL_MIRRORS", "NIM_REPOSITORY_OVERRIDE"),
        option="--mirror",
        guides_secret=True,
        help="Where the files of hf:// and ngc:// come from instead: ADDRESS, or PREFIX=ADDRESS.",
    ),
    Key(
        name="connections",
        convert=values.whole_number(1, 64),
        environment=("NIMCTL_CONNECTIONS",),
        help="How many connections a download opens at most; as many as the source takes if unset.",
    ),
    Key(
        name="limit_rate",
        convert=values.rate,
        environment=("NIMCTL_LIMIT_RATE",),
        help="Bytes a second that a download takes at most, e.g. 50MB/s.",
    ),
    Key(
        name="xet",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_XET",),
        help="Whether large files of Hugging Face come out of its Xet storage, through hf_xet.",
    ),
    Key(
        name="progress",
        convert=values.choice("auto", "bars", "plain", "json", "none"),
        default="auto",
        environment=("NIMCTL_PROGRESS",),
        help="How a download is told: auto, bars, plain, json (lines on standard error) or none.",
    ),
    Key(
        name="allow_pickle",
        convert=values.truth,
        default=False,
        environment=("NIMCTL_ALLOW_PICKLE",),
        lets_code_in=True,
        help="Whether pickles are brought where a model has nothing else.",
    ),
    Key(
        name="require_signature",
        convert=values.path,
        environment=("NIMCTL_REQUIRE_SIGNATURE",),
        lets_code_in=True,
        help="The public key (PEM) of whoever must have signed what is fetched.",
    ),
    Key(
        name="hf_token",
        convert=values.secret,
        default=Secret(),
        environment=("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        secret=True,
        help="The token for Hugging Face.",
    ),
    Key(
        name="hf_endpoint",
        convert=values.url,
        default="https://huggingface.co",
        environment=("HF_ENDPOINT",),
        guides_secret=True,
        help="The address of Hugging Face or of a mirror.",
    ),
    Key(
        name="ngc_api_key",
        convert=values.secret,
        default=Secret(),
        environment=("NGC_API_KEY", "NGC_CLI_API_KEY"),
        secret=True,
        help="The key for NVIDIA NGC.",
    ),
    Key(
        name="ngc_endpoint",
        convert=values.url,
        default="https://api.ngc.nvidia.com",
        environment=("NIMCTL_NGC_ENDPOINT", "NGC_CLI_API_URL"),
        guides_secret=True,
        help="The address of NGC's API.",
    ),
    Key(
        name="ngc_auth_endpoint",
        convert=values.url,
        default="https://authn.nvidia.com",
        environment=("NIMCTL_NGC_AUTH_ENDPOINT", "NGC_CLI_AUTH_URL"),
        guides_secret=True,
        help="Where NGC gives out tokens for keys of the old kind.",
    ),
)
