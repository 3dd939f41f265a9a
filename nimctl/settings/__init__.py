"""Settings from flags, environment, files and defaults; each value knows who set it."""

from nimctl.settings.key import Key
from nimctl.settings.layers import PROJECT_FILE, read_settings
from nimctl.settings.record import SettingLine, Settings, list_settings
from nimctl.settings.table import KEYS
from nimctl.settings.values import Secret

__all__ = [
    "KEYS",
    "PROJECT_FILE",
    "Key",
    "Secret",
    "SettingLine",
    "Settings",
    "list_settings",
    "read_settings",
]
