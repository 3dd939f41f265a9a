"""What `list-profiles` shows: one model, a model that cannot be judged, or the catalogue."""

from nimctl.catalog import Catalog, UnjudgedModelError
from nimctl.cli import left_out, listing_text
from nimctl.cli.documents import listing_document, machine_document
from nimctl.cli.facts import Machine, judge, judge_all
from nimctl.cli.terminal import print_json
from nimctl.core.manifest import Manifest
from nimctl.core.wish import Wish
from nimctl.settings import Settings


def list_model(
    manifest: Manifest,
    machine: Machine,
    wish: Wish,
    settings: Settings,
    *,
    explain: bool,
    json: bool,
) -> None:
    """Every profile of one model, best first with `explain`, and those that are left out."""
    selection = judge(manifest, machine, wish, settings)
    if json:
        document = listing_document(machine, ((manifest, selection),), one_model=True)
        print_json(document | {"left_out": left_out.left_out_document(manifest.left_out)})
        return
    listing_text.print_system(machine)
    if explain:
        listing_text.print_explanation(selection)
    else:
        listing_text.print_groups(manifest, selection)
    left_out.print_left_out(manifest, in_full=explain)


def list_unjudged(error: UnjudgedModelError, machine: Machine, *, json: bool) -> None:
    """A model of which too little is known, with its profiles all the same."""
    if json:
        print_json(machine_document(machine) | left_out.unjudged_document(error))
        return
    listing_text.print_system(machine)
    left_out.print_unjudged(error)


def list_catalogue(
    catalog: Catalog, machine: Machine, wish: Wish, settings: Settings, *, json: bool
) -> None:
    """Every model with its best profile, and those that cannot be judged with the reason.

    Raises:
        ManifestError: lists the faults of all files.
    """
    manifests, unjudged = catalog.manifests(), catalog.list_unjudged()
    judged = tuple(zip(manifests, judge_all(manifests, machine, wish, settings), strict=True))
    if json:
        document = listing_document(machine, judged, one_model=False)
        print_json(document | {"unjudged": left_out.unjudged_models_document(unjudged)})
        return
    listing_text.print_system(machine)
    listing_text.print_catalogue(judged)
    left_out.print_unjudged_models(unjudged)
