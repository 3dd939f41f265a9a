"""`nimctl evidence`: what was measured here and elsewhere, shown, exported, forgotten."""

from typing import Annotated

import typer

from nimctl.cli import options

evidence = typer.Typer(help="What was measured, which choices are ranked by.", no_args_is_help=True)

Numbers = Annotated[
    list[int], typer.Argument(metavar="ID...", help="Numbers of benches, as `ls` shows them.")
]


@evidence.command("ls", short_help="Every bench and every start that was kept, one a line.")
def list_evidence(json: options.Json = False) -> None:
    """List every bench that was kept, the newest first, every start with its memory, and what
    failed starts taught.
    """
    from nimctl.cli import evidence_text
    from nimctl.cli.known_speeds import open_evidence
    from nimctl.cli.terminal import print_json

    store = open_evidence()
    kept = store.read_benches(), store.read_starts(), store.read_memory()
    learned = store.read_concessions()
    if json:
        print_json(evidence_text.evidence_document(*kept, learned))
    else:
        evidence_text.print_evidence(store.path, *kept, learned)


@evidence.command("show", short_help="One bench or one start with all its figures.")
def show_evidence(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Number of a bench, or of a start: s3.")
    ],
    json: options.Json = False,
) -> None:
    """Show one bench: what ran, where, under which load, and the percentiles.

    Of a start: how long each phase took, and the memory of each part as predicted and as held.
    """
    from nimctl.cli import evidence_text, start_text
    from nimctl.cli.known_speeds import open_evidence
    from nimctl.cli.terminal import print_json

    store = open_evidence()
    if name.startswith("s"):
        start, memory = start_text.find_start(store.read_starts(), name), store.read_memory()
        if json:
            print_json(start_text.start_document(start, memory))
        else:
            start_text.print_start(start, memory)
        return
    bench = evidence_text.find_bench(store.read_benches(), name)
    if json:
        print_json(evidence_text.bench_document(bench))
    else:
        evidence_text.print_bench(bench)


@evidence.command("export", short_help="All of it, for a spreadsheet or another program.")
def export_evidence(json: options.Json = False) -> None:
    """Print every bench as CSV; with --json everything, starts included, as `ls --json` does."""
    from nimctl.cli import evidence_text
    from nimctl.cli.known_speeds import open_evidence
    from nimctl.cli.terminal import print_json, print_note

    store = open_evidence()
    if json:
        kept = store.read_benches(), store.read_starts(), store.read_memory()
        print_json(evidence_text.evidence_document(*kept, store.read_concessions()))
        return
    benches = store.read_benches()
    evidence_text.print_csv(benches)
    if not benches:
        print_note("no bench is kept; --json prints starts and what failed ones taught")


@evidence.command("rm", short_help="Forget benches.")
def remove_evidence(numbers: Numbers, json: options.Json = False) -> None:
    """Forget benches, e.g. of a machine that was busy with something else at the time."""
    from nimctl.cli.known_speeds import open_evidence
    from nimctl.cli.terminal import print_json, print_note

    open_evidence().remove_benches(tuple(dict.fromkeys(numbers)))
    if json:
        print_json({"removed": numbers})
    else:
        print_note(f"forgot {', '.join(map(str, numbers))}")


@evidence.command("forget", short_help="Forget what failed starts of a model taught.")
def forget_starts(model: options.Model = None, json: options.Json = False) -> None:
    """Let the next start of MODEL begin with the plan that it would have without earlier ones."""
    from nimctl.cli import asked, facts
    from nimctl.cli.known_speeds import open_evidence
    from nimctl.cli.terminal import print_json, print_note

    settings = asked.read_command_settings()
    name = facts.find_model(facts.open_catalog(settings), settings, model).model
    count = open_evidence().forget_concessions(name)
    if json:
        print_json({"model": name, "forgotten": count})
    else:
        print_note(f"forgot {count} failed starts of {name}")
