"""What `nimctl cache serve` does: the mirror, for as long as nobody ends it."""

from errno import EADDRINUSE
from ipaddress import ip_address

from nimctl.cache import Cache
from nimctl.cache.mirror import MirrorServer, serve_mirror
from nimctl.cli.terminal import print_json_line, print_line, print_warning
from nimctl.errors import InputError
from nimctl.settings import Settings


def serve_cache(settings: Settings, *, host: str, port: int, json: bool) -> None:
    """Serve the cache to whoever can connect, until Ctrl-C or SIGTERM.

    Raises:
        InputError: the address cannot be used.
    """
    if not _is_loopback(host):
        print_warning(
            f"{host} can be reached from other machines: whoever connects gets every model of "
            "the cache, gated and private ones too, without being asked who they are"
        )

    def tell(server: MirrorServer) -> None:
        names = server.shelf.list_models()
        if json:
            print_json_line({"event": "ready", "url": server.url, "models": names})
            return
        print_line(f"{len(names)} models of {settings.cache_dir} at {server.url}")
        print_line(f"  HF_ENDPOINT={server.url} nimctl download hf://{_example(names)}")
        print_line("Ctrl-C stops it.")

    try:
        serve_mirror(Cache(settings.cache_dir), host, port, tell)
    except KeyboardInterrupt:
        return
    except OverflowError as error:
        raise InputError(f"{port} is not a port") from error
    except OSError as error:
        hint = "choose another --port; 0 takes a free one" if error.errno == EADDRINUSE else None
        raise InputError(f"{host}:{port} cannot be used: {error.strerror}", hint=hint) from error


def _example(names: tuple[str, ...]) -> str:
    return names[0] if names else "ORG/NAME"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
