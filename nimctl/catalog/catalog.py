"""The catalogue: finds a model by any name people type, and reads only the files it must."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from nimctl.catalog.folders import list_manifest_files, shipped_manifest_dir
from nimctl.core.manifest import Manifest
from nimctl.errors import InputError, ManifestError, UnknownModelError

if TYPE_CHECKING:
    from nimctl.catalog.nim import NimManifest
    from nimctl.catalog.sheet import ManifestSheet, UnjudgedModel

_NEAREST = 5


def load_catalog(
    directories: Iterable[Path] = (),
    *,
    shipped: Path | None = None,
    carried: Mapping[str, tuple[Path, ...]] = MappingProxyType({}),
) -> "Catalog":
    """The shipped manifests, and those in folders of the user's own.

    A model may stand in several folders only where the later files say `overrides: true`.

    Args:
        directories: Folders that add to the ones before them, or override them.
        shipped: The folder below all others; None is the one that comes with nimctl.
        carried: The files of models that came from another machine, the strongest last: they take
            the place of what is shipped, and `directories` theirs.

    Raises:
        InputError: a folder does not exist.
        ManifestError: a YAML file lies where no manifest belongs.
    """
    lowest = shipped or shipped_manifest_dir()
    files = list_manifest_files([lowest, *directories])
    if carried:
        below = list_manifest_files([lowest])
        unsaid = {model for model in carried if files.get(model) == below.get(model)}
        files |= {model: carried[model] for model in unsaid}
    return Catalog(files)


class Catalog:
    """Models by name; a file is opened when its model is first asked for.

    Args:
        files: The files of each model, the strongest last.
    """

    def __init__(self, files: Mapping[str, tuple[Path, ...]]) -> None:
        self._files = files
        self._sheets: dict[str, ManifestSheet | UnjudgedModel] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """All full names, sorted."""
        return tuple(sorted(self._files))

    def layers_of(self, model: str) -> tuple[Path, ...]:
        """The files that describe a model by its full name, the strongest last."""
        return self._files[model]

    def manifests(self) -> tuple[Manifest, ...]:
        """Every model that can be judged, sorted by name.

        Raises:
            ManifestError: lists the faults of all files.
        """
        from nimctl.catalog.sheet import ManifestSheet

        return tuple(one.manifest for one in self._read_all() if isinstance(one, ManifestSheet))

    def list_unjudged(self) -> "tuple[UnjudgedModel, ...]":
        """The models of which NIM's manifests say too little, sorted by name.

        Raises:
            ManifestError: lists the faults of all files.
        """
        from nimctl.catalog.sheet import UnjudgedModel

        return tuple(one for one in self._read_all() if isinstance(one, UnjudgedModel))

    def find(self, name: str) -> Manifest:
        """The model meant by a full name, a short one, or an alias; case does not matter.

        Raises:
            UnknownModelError: no model has that name, or several have; names the candidates.
            UnjudgedModelError: only a NIM manifest tells of it, and too little.
            ManifestError: the model's file has faults.
        """
        wanted = name.strip().lower()
        if wanted in self._files:
            return self._judge(wanted)
        meant = [model for model in self.models if model.partition("/")[2] == wanted]
        names = {} if meant else self._list_names()
        meant = meant or sorted(names.get(wanted, ()))
        if len(meant) == 1:
            return self._judge(meant[0])
        if meant:
            raise UnknownModelError(
                f"{name!r} may be {' or '.join(meant)}", hint="give the full name"
            )
        nearest = _find_nearest(wanted, names)
        raise UnknownModelError(
            f"the catalogue has no model {name!r}"
            + (f"; nearest: {', '.join(nearest)}" if nearest else ""),
            hint="`nimctl list-profiles` shows all models"
            + (f"; hf://{name.strip()} names one of Hugging Face" if name.count("/") == 1 else ""),
        )

    def _judge(self, model: str) -> Manifest:
        from nimctl.catalog.sheet import UnjudgedModel, UnjudgedModelError

        read = self._read(model)
        if isinstance(read, UnjudgedModel):
            raise UnjudgedModelError(read)
        return read.manifest

    def _list_names(self) -> dict[str, set[str]]:
        """Which models each full name, short name and alias may mean."""
        from nimctl.catalog.sheet import ManifestSheet

        names: dict[str, set[str]] = {}
        for model, read in zip(self.models, self._read_all(), strict=True):
            aliases = read.aliases if isinstance(read, ManifestSheet) else ()
            for full in (model, *aliases):
                for name in (full.lower(), full.lower().rpartition("/")[2]):
                    names.setdefault(name, set()).add(model)
        return names

    def _read_all(self) -> "list[ManifestSheet | UnjudgedModel]":
        """What is known of each of `models`, in their order."""
        faults = []
        for model in self.models:
            try:
                self._read(model)
            except ManifestError as error:
                faults.append(error.message)
        if faults:
            raise ManifestError("\n".join(faults))
        return [self._sheets[model] for model in self.models]

    def _read(self, model: str) -> "ManifestSheet | UnjudgedModel":
        if model not in self._sheets:
            self._sheets[model] = self._read_strongest(model)
        return self._sheets[model]

    def _read_strongest(self, model: str) -> "ManifestSheet | UnjudgedModel":
        first, *others = self._files[model]
        strongest = self._complete(_read_file(model, first), None)
        before = first
        for path in others:
            read = _read_file(model, path)
            if not read.overrides:
                raise ManifestError(
                    f"{path}:1: {model} is already described by {before}",
                    hint="say `overrides: true` in the file that shall win, or remove one",
                )
            strongest = self._complete(read, strongest)
            before = path
        return strongest

    def _complete(
        self,
        read: "ManifestSheet | NimManifest",
        below: "ManifestSheet | UnjudgedModel | None",
    ) -> "ManifestSheet | UnjudgedModel":
        """A NIM manifest tells of profiles only; the rest is what the sheet below it says."""
        from nimctl.catalog.nim_manifest import to_manifest
        from nimctl.catalog.sheet import ManifestSheet

        if isinstance(read, ManifestSheet):
            return read
        if not isinstance(below, ManifestSheet):
            return to_manifest(read, self._find_by_alias(read.model))
        completed = to_manifest(read, below.manifest)
        if isinstance(completed, ManifestSheet):
            return replace(completed, aliases=below.aliases)
        return completed

    def _find_by_alias(self, alias: str) -> Manifest | None:
        """What nimctl knows of a model under another name: NIM's files name Hugging Face's."""
        from nimctl.catalog.sheet import ManifestSheet

        for model, (path, *_) in self._files.items():
            try:
                read = _read_file(model, path)
            except ManifestError:
                continue
            if isinstance(read, ManifestSheet) and alias in map(str.lower, read.aliases):
                return read.manifest
        return None


def _read_file(model: str, path: Path) -> "ManifestSheet | NimManifest":
    from nimctl.catalog.compiled import find_compiled
    from nimctl.catalog.sheet import MAX_BYTES

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    compiled = find_compiled(content, origin=str(path), model=model)
    if compiled is not None:
        return compiled
    from nimctl.catalog.parse import parse_manifest

    return parse_manifest(content, origin=str(path), model=model)


def _find_nearest(wanted: str, names: Mapping[str, set[str]]) -> list[str]:
    """Models with a name that holds the text or looks like it, the most alike first."""
    holding = sorted(name for name in names if wanted and wanted in name)
    alike = get_close_matches(wanted, names, n=_NEAREST, cutoff=0.5)
    models = (model for name in (*holding, *alike) for model in sorted(names[name]))
    return list(dict.fromkeys(models))[:_NEAREST]
