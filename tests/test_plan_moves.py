"""``[[move]]``, ``[[shift]]``, a ramp that changes and what changes cost: read, checked and refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from quotacast.engine.drivers import Move, Shift
from quotacast.errors import PlanError
from quotacast.scenarios.plan import Plan, load_plan
from quotacast.scenarios.run import Run

HEAD = 'horizon = "2027"\nas_of = 2026-12-31\n'


def read(tmp_path: Path, text: str) -> Plan:
    (tmp_path / "plan.toml").write_text(HEAD + text)
    return load_plan(tmp_path / "plan.toml")


def test_moves_and_shifts_are_read(tmp_path: Path) -> None:
    plan = read(
        tmp_path,
        """
[calendar]
year_starts = 4
[[move]]
segment = "smb"
from = "rep:r01"
to = "team:north"
on = 2027-02-01
until = 2027-08-31
share = "40%"
open_deals = true
cost = 5_000
[[shift]]
from = "2027-Q3"
to = "2027-Q1"
share = 0.25
scope = "team:north"
[[change]]
what = "ramp"
times = 0.8
cost = 12_000
""".replace("2027-Q", "2028-Q"),
    )
    drivers = plan.drivers()
    assert drivers.moves == (
        Move("smb", "rep:r01", "team:north", date(2027, 2, 1), date(2027, 8, 31), 0.4, True),
    )
    ends = (date(2027, 10, 1), date(2027, 12, 31)), (date(2027, 4, 1), date(2027, 6, 30))
    assert drivers.shifts == (Shift("team:north", 0.25, *ends),)
    assert (plan.moves[0].cost, plan.changes[0].cost, drivers.changes[0].times) == (5_000, 12_000, 0.8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[[move]]\nsegment = "s"\nfrom = "company"\nto = "rep:r1"\non = 2027-02-01',
            "move[1]: company came",
        ),
        ('[[move]]\nsegment = "s"\nfrom = "rep:r1"\nto = "rep:r1"\non = 2027-02-01', "are both rep:r1"),
        (
            '[[move]]\nsegment = "s"\nfrom = "rep:r1"\nto = "rep:r2"\non = 2027-02-01\nuntil = 2027-01-01',
            "is after until",
        ),
        ('[[move]]\nsegment = "s"\nfrom = "rep:r1"\nto = "rep:r2"', "move[1].on: missing, wanted a date"),
        ('[[move]]\nsegment = "s"\nform = "rep:r1"', "move[1].form: unknown key, did you mean from?"),
        (
            '[[shift]]\nfrom = "2027-Q1"\nto = "2027-Q1"\nshare = 0.1',
            "shift[1]: from and to are both 2027-Q1",
        ),
        ('[[shift]]\nfrom = "2027-Q1"\nto = "2027-Q2"\nshare = 1.0', "share is 1, wanted less"),
        ('[[shift]]\nfrom = "2027-Q9"\nto = "2027-Q2"\nshare = 0.1', "shift[1].from: "),
        ('[[change]]\nwhat = "ramp"\nto = 90.0', "change[1]: to came for ramp"),
        (
            '[[change]]\nwhat = "ramp"\ntimes = 0.5\ncost = -1.0',
            "change[1].cost: -1.0 came, wanted an amount",
        ),
    ],
)
def test_what_is_impossible_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        read(tmp_path, text)
    assert said in "\n".join(caught.value.problems)


def test_who_gives_and_takes_must_exist(tmp_path: Path) -> None:
    text = '[[move]]\nsegment = "smbb"\nfrom = "rep:r9"\nto = "team:nort"\non = 2027-02-01\n'
    text += '[[shift]]\nfrom = "2027-Q3"\nto = "2027-Q1"\nshare = 0.1\nscope = "team:est"'
    with pytest.raises(PlanError) as caught:
        read(tmp_path, text).check_against({"r1": "north", "r2": "west"}, segments=("smb", "mid"))
    places = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert places == ["move[1].from", "move[1].to", "shift[1].scope", "move[1].segment"]


def test_what_is_handed_over_is_said(decided: Path) -> None:
    plan = load_plan(decided)
    ready = Run(plan, force=True)
    segment = ready._prepared.segment
    deals = ready.history.opportunities
    name = segment.levels[0]
    mine = ((deals["status"] == "open") & (deals["rep_id"] == "r01")).to_numpy() & (segment.codes == 0)
    move = {
        "segment": name,
        "from": "rep:r01",
        "to": "team:south",
        "on": date(2027, 2, 1),
        "share": 0.25,
        "open_deals": True,
    }
    notes = Run(plan.edited({"move": [move]}), force=True).notes
    said = next(note for note in notes if "open_deals" in note)
    assert said.startswith(
        f"move[1].open_deals: 25% of {int(mine.sum())} open deals in {name} go from rep:r01"
    )
    assert "each keeps 85% of its odds" in said
    assert not any("open_deals" in note for note in ready.notes)
