"""Gateways and engines under attack: see `gateway_rig`."""

from gateway_rig import (
    deaf_engine,
    engine,
    gateway,
    raw,
    scripted_engine,
    shared_engine,
    start_engine,
    start_gateway,
)

__all__ = [
    "deaf_engine",
    "engine",
    "gateway",
    "raw",
    "scripted_engine",
    "shared_engine",
    "start_engine",
    "start_gateway",
]
