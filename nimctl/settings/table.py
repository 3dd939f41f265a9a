"""The table of settings, as data: all of them, and by name, variable and tag."""

from nimctl.settings.choice_keys import CHOICE_KEYS
from nimctl.settings.fetch_keys import FETCH_KEYS
from nimctl.settings.gateway_keys import GATEWAY_KEYS

KEYS = (*CHOICE_KEYS, *FETCH_KEYS, *GATEWAY_KEYS)

KEY_BY_NAME = {key.name: key for key in KEYS}
KEY_BY_VARIABLE = {variable: key for key in KEYS for variable in key.environment}

# The tags of NIM's manifests that are a setting of nimctl.
KEY_NAME_BY_TAG = {
    "llm_engine": "engine",
    "precision": "precision",
    "tp": "tensor_parallel",
    "profile": "goal",
    "feat_lora": "lora",
}
