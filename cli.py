"""The command line: the only place that parses arguments, prints, or exits."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quotacast import __version__
from quotacast.errors import QuotacastError
from quotacast.scenarios.commands import COMMANDS, Command, Option, load

if TYPE_CHECKING:
    from quotacast.engine.answer import Answer
    from quotacast.scenarios.run import Run

GROUPS = {
    "Start": ("example", "import", "check"),
    "Answer": ("plan", "forecast", "quotas", "pipeline", "performers", "revenue", "cash", "capacity"),
    "Decide": ("suggest", "reconcile", "compare", "approve"),
    "Trust": ("backtest", "report", "fit"),
}


class Grouped(click.Group):
    """Commands listed as people think, and our errors shown as sentences with exit code 2."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by group."""
        for group, names in GROUPS.items():
            rows = [(n, self.commands[n].get_short_help_str(60)) for n in names if n in self.commands]
            with formatter.section(group):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Turn deliberate errors into messages; anything else is a defect and exits with 1."""
        try:
            return super().invoke(ctx)
        except QuotacastError as error:
            for problem in error.problems:
                click.echo(f"error: {problem}", err=True)
            ctx.exit(2)


@click.group(cls=Grouped, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="quotacast")
def main() -> None:
    """Odds for sales quotas, and the forecasts that belong to them.

    \b
    First steps:
      quotacast example demo
      quotacast plan demo/plan.toml
    """
    if threading.current_thread() is threading.main_thread():  # told to stop, as by Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)


# -- options shared by all answers ----------------------------------------------------------------------


def _day(ctx: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        raise click.BadParameter(f"{value!r} is no ISO day such as 2026-12-31") from None


def _percents(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in value.split(","))
    except ValueError:
        found = ()
    if not found or any(not 0 < x < 100 for x in found) or len(set(found)) != len(found):
        raise click.BadParameter(
            f"{value!r}: wanted different percents between 0 and 100, such as 5,25,50,75,95"
        )
    return tuple(sorted(found))


SOURCE = click.argument("source", required=False, type=click.Path(path_type=Path))
RUN_OPTIONS = (
    click.option("--scenario", help="One of the plan's scenarios."),
    click.option("--as-of", callback=_day, metavar="DATE", help="Use what was known on this evening."),
    click.option("--seed", type=click.IntRange(0), help="Seed of the random numbers."),
    click.option("--draws", type=click.IntRange(100, 200_000), help="Number of simulated futures."),
    click.option(
        "--method", type=click.Choice(["nuts", "laplace"]), help="How models are fitted (see `fit --help`)."
    ),
    click.option("--force", is_flag=True, help="Go on with a fit whose diagnostics fail."),
    click.option("--quiet", is_flag=True, help="No progress on stderr."),
)
OUT_OPTIONS = (
    click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table"),
    click.option(
        "--out", type=click.Path(path_type=Path), help="Write to FILE: xlsx, html, csv, parquet or json."
    ),
)
PICK_OPTIONS = {
    "scope": click.option(
        "--scope", multiple=True, help="company, team, rep, team:NAME or rep:ID; repeatable."
    ),
    "metric": click.option("--metric", multiple=True, help="Metric, e.g. bookings; repeatable."),
    "by": click.option("--by", help="day, week, month, quarter or year."),
    "quantiles": click.option(
        "--quantiles", default="10,50,90", callback=_percents, metavar="P,P,…", help="Percents. [10,50,90]"
    ),
}
KINDS: dict[str, dict[str, Any]] = {
    "text": {},
    "number": {"type": float},
    "whole": {"type": int},
    "flag": {"is_flag": True},
    "file": {"type": click.Path(path_type=Path)},
    "day": {"callback": _day, "metavar": "DATE"},
}


def _options(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """Progress bars on stderr, one per kind of work; nothing where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<22}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, share: float) -> None:
            kind = what.partition(":")[0]
            if kind not in tasks:
                tasks[kind] = bars.add_task(what, total=1.0)
            bars.update(tasks[kind], completed=share, description=what)

        yield tell


@contextmanager
def _run(source: Path | None, options: dict[str, Any], endings: tuple[str, ...] = ()) -> Iterator[Run]:
    """The run that a command's options ask for, with its progress shown."""
    from quotacast.scenarios.choose import check_out
    from quotacast.scenarios.edits import settings
    from quotacast.scenarios.run import DEFAULT_METHOD, Run
    from quotacast.scenarios.sources import find_plan

    check_out(options.get("out"), endings)  # before anything long begins
    plan = find_plan(source, scenario=options["scenario"], as_of=options["as_of"])
    plan = settings(plan, as_of=options["as_of"], draws=options["draws"], seed=options["seed"])
    with _progress(options["quiet"]) as told:
        yield Run(plan, options["method"] or DEFAULT_METHOD, options["force"], told)


def _show(answer: Answer, options: dict[str, Any], shown: Callable[[Answer, int], str]) -> None:
    """Print or write an answer; what a terminal shows may be less than the files hold."""
    from quotacast.engine.reports.files import as_csv, as_json, write

    form, out = options["form"], options["out"]
    if out is not None:
        write(answer, out)
        click.echo(f"{len(answer.rows):,} rows written to {out}")
    elif form == "json":
        click.echo(as_json(answer))
    elif form == "csv":
        click.echo(as_csv(answer), nl=False)
    else:
        click.echo(shown(answer, _width()))


def _width() -> int:
    import shutil

    return max(60, min(shutil.get_terminal_size((80, 24)).columns, 160))


def _notes(notes: Iterable[str]) -> None:
    """What must be said beside an answer: on stderr, so that stdout stays the answer."""
    for note in notes:
        click.echo(f"Note: {note}", err=True)


# -- start -------------------------------------------------------------------------------------------------


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def example(folder: Path) -> None:
    """Write an example company (20 reps, 3 years) with a plan into FOLDER.

    \b
    Example: quotacast example demo
    """
    from quotacast.engine.worlds import write_example

    write_example(folder)
    click.echo(f"Example company written to {folder}: CRM tables, plan.toml, and its true parameters.")
    click.echo(f"Next     quotacast plan {folder / 'plan.toml'}")


@main.command(name="import")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE…")
@click.option("--from", "kind", required=True, help="salesforce, export, or a mapping file ending in .toml.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--currency", help="ISO code of the planning currency.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier import.")
def import_(sources: tuple[Path, ...], kind: str, out: Path, currency: str | None, overwrite: bool) -> None:
    """Turn another system's files into a data folder with a plan.

    \b
    Example: quotacast import exports/ --from salesforce --out data
    """
    from quotacast.models.history.importers import import_source
    from quotacast.scenarios.answer_views import import_lines

    result = import_source(list(sources), kind=kind, out=out, currency=currency, overwrite=overwrite)
    for line in import_lines(result, out):
        click.echo(line)


@main.command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--as-of", callback=_day, metavar="DATE", help="Use what was known on this evening.")
@_options(OUT_OPTIONS)
def check(source: Path | None, as_of: date | None, **options: Any) -> None:
    """Show what the data are like: what was rejected, changed or looks odd, and what they can answer.

    \b
    Example: quotacast check demo/crm --format json
    """
    from quotacast.engine.answers.quality import data_quality
    from quotacast.models.history.rejected import write_rejected
    from quotacast.scenarios.choose import check_out
    from quotacast.scenarios.run import versions
    from quotacast.scenarios.sources import find_plan, read
    from quotacast.scenarios.views import check_lines

    check_out(options["out"])
    plan = find_plan(source, as_of=as_of)
    history = read(plan.data_folder, as_of=as_of or plan.as_of, currency=plan.currency)
    provenance = {
        "data_fingerprint": history.fingerprint,
        "as_of": history.as_of_date.isoformat(),
        "currency": history.currency,
        "versions": versions(),
    }
    found = data_quality(history, provenance)
    _show(found, options, lambda answer, width: "\n".join(check_lines(answer, width)))
    if len(history.rejected):
        place = plan.home / ".quotacast" / "rejected.csv"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_rejected(history, place)
        click.echo(f"Rejected rows and reasons: {place}", err=True)
    if options["form"] == "table" and options["out"] is None:
        click.echo(f"\nNext     quotacast plan {_planned(source)}".rstrip())


def _planned(source: Path | None) -> Path | str:
    """The plan file inside a folder where there is one, so that nobody overlooks it."""
    inside = source / "plan.toml" if source else None
    return inside if inside and inside.is_file() else source or ""


# -- answer ------------------------------------------------------------------------------------------------


@main.command()
@SOURCE
@_options(RUN_OPTIONS)
def plan(source: Path | None, **options: Any) -> None:
    """Do the main job: fit or reuse the fit, simulate, sum it up, write the page.

    SOURCE is a plan file, a data folder or one export file; without it, ./plan.toml.

    \b
    Example: quotacast plan demo/plan.toml
    """
    from quotacast.engine.reports.files import save
    from quotacast.scenarios.overview import overview

    with _run(source, options) as run:
        found = overview(run)
    suffix = f"-{run.plan.scenario}" if run.plan.scenario else ""
    place = _relative(run.plan.home / f"report{suffix}.html")
    save(found.page, place)
    for line in found.screen:
        click.echo(line)
    following = "quotas" if len(found.quotas.rows) else "forecast"
    click.echo(f"Next     quotacast {following} {source or ''}".rstrip())
    click.echo(f"Page     {place}")


def _relative(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def _answers(row: Command) -> click.Command:
    """The command of a row: run, answer, show, and say what must be said beside it."""

    def ask(source: Path | None, **options: Any) -> None:
        with _run(source, options) as run:
            found, notes = load(row.answer)(run, options)
        _show(found, options, lambda whole, width: load(row.view)(whole, options, width))
        _notes(notes)

    says, _, example = row.help.partition("\nExample")
    ask.__doc__ = f"{says}\n\n\b\nExample{example}\n"
    own = [click.option(o.flag, help=o.help, multiple=o.many, **_typed(o)) for o in row.options]
    picks = [PICK_OPTIONS[name] for name in row.picks]
    names = [click.argument("names", nargs=-1, metavar=row.names)] if row.names else []
    decorate = _options((SOURCE, *names, *own, *picks), RUN_OPTIONS, OUT_OPTIONS)
    command: click.Command = click.command(row.name)(decorate(ask))
    return command


def _typed(option: Option) -> dict[str, Any]:
    """How click reads an option of a row."""
    given = {"metavar": option.metavar} if option.metavar else {}
    default = {} if option.kind == "flag" or option.many else {"default": option.default}
    return {**KINDS[option.kind], **default, **given}


for _row in COMMANDS:
    main.add_command(_answers(_row))


# -- trust -------------------------------------------------------------------------------------------------


@main.command()
@SOURCE
@_options(RUN_OPTIONS)
@click.option(
    "--for",
    "audience",
    metavar="WHOM",
    help="leadership, finance, ops or rep:ID; without it, the whole page.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Page to write. [report.html, report-WHOM.html]")
def report(source: Path | None, audience: str | None, **options: Any) -> None:
    """Write a page that opens offline and prints: of everything, or for those who asked.

    \b
    Example: quotacast report demo/plan.toml --out board.html
             quotacast report demo/plan.toml --for leadership
             quotacast report demo/plan.toml --for rep:r12
    """
    from quotacast.engine.reports.files import save
    from quotacast.scenarios.overview import overview
    from quotacast.scenarios.pages.audiences import WHOLE, asked, audience_page, file_name

    if audience is not None:
        asked(audience)  # a typing error is told before anything is read
    options["out"] = options["out"] or Path(file_name(audience))
    with _run(source, options, (".html",)) as run:
        made = audience_page(run, audience) if audience else overview(run, WHOLE).page
    save(made, options["out"])
    click.echo(f"Page     {options['out']}")


@main.command()
@SOURCE
@_options(RUN_OPTIONS)
def fit(source: Path | None, **options: Any) -> None:
    """Fit the models, or say that the stored fit still holds, and show their diagnostics.

    \b
    Example: quotacast fit demo/plan.toml --method nuts
    """
    from quotacast.scenarios.fitted import fit_report

    with _run(source, options) as run:
        lines = fit_report(run)
    for line in lines:
        click.echo(line)
