"""Charts and the page."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.answer import Answer, Field
from quotacast.engine.reports import bars, fan, odds, reliability, svg
from quotacast.engine.reports.charts import CHARTS, pictures
from quotacast.engine.reports.page import PAGE_ROWS, Section, headline, page
from quotacast.errors import QuotacastError

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
PROVENANCE = {
    "fingerprint": "ab12",
    "currency": "EUR",
    "seed": 7,
    "versions": {"numpy": "2.1"},
    "who": HOSTILE,
}


def made(name: str, chart: str, units: dict[str, str], rows: list[tuple[Any, ...]], **summary: Any) -> Answer:
    fields = tuple(Field(n, u, f"What {n} means {HOSTILE}") for n, u in units.items())
    frame = pd.DataFrame(rows, columns=list(units))
    summary = {"metric_units": {"bookings": "money"}, **summary}
    return Answer(name, frame, fields, f"Words of {HOSTILE}.", summary, PROVENANCE, chart)


def forecast() -> Answer:
    units = dict.fromkeys(("scope", "scope_id", "metric", "period", "component"), "text")
    units |= dict.fromkeys(("mean", "p10", "p50", "p90"), "metric")
    rows = []
    for scope, scope_id, share in (("team", HOSTILE, 0.4), ("company", "company", 1.0)):
        for month in range(1, 7):
            middle = share * 1e5 * (7 + month)
            for component, part in (("done", 0.0), ("open", 0.3), ("new", 0.7), ("total", 1.0)):
                mean = middle * part
                rows.append(
                    (
                        scope,
                        scope_id,
                        "bookings",
                        f"2027-{month:02d}",
                        component,
                        mean,
                        0.8 * mean,
                        mean,
                        1.3 * mean,
                    )
                )
        rows.append((scope, scope_id, "bookings", "2027", "total", 6e6, 5e6, 6e6, 7e6))
    actuals = [{"period": f"2026-{m:02d}", "value": 6e5 + 1e4 * m} for m in (10, 11, 12)]
    targets = [{"period": "2027-01", "value": 9e5}, {"period": "2027-02", "value": 9.5e5}]
    targets += [{"scope": "team", "period": "2027-03", "value": 1.0}]
    return made("forecast", "fan", units, rows, actuals=actuals, targets=targets)


def quotas(reps: int = 5) -> Answer:
    units = {"scope": "text", "scope_id": "text", "set": "text", "metric": "text", "period": "text"}
    units |= {"target": "metric", "actual": "metric", "p_attain": "probability", "p_defined": "probability"}
    units |= {"p10": "metric", "p50": "metric", "p90": "metric", "attainment_p50": "ratio"}

    def row(scope: str, scope_id: str, target: float, p: float, defined: float = 1.0) -> tuple[Any, ...]:
        return (
            scope,
            scope_id,
            "base",
            "bookings",
            "2027",
            target,
            0.0,
            p,
            defined,
            *(target * f for f in (0.8, 0.95, 1.1, 0.95)),
        )

    rows = [
        row("company", "company", 12e6, 0.27),
        row("team", "north", 5e6, 0.48),
        row("team", HOSTILE, 4e6, 0.12),
    ]
    rows += [
        row("rep", f"r{i:02d}", 5e5 + i, 0.05 + 0.9 * i / reps, 0.4 if i == 2 else 1.0) for i in range(reps)
    ]
    teams = {f"r{i:02d}": ("north", HOSTILE, "gone")[i % 3] for i in range(reps)}
    return made("quotas", "odds", units, rows, teams=teams, names={"r00": HOSTILE})


def levers() -> Answer:
    units = {"lever": "text", "p50": "money", "p10": "money", "p90": "money"}
    rows = [("hire", 6e5, 2e5, 1e6), (HOSTILE, -2e5, -4e5, 1e5), ("none", np.nan, np.nan, np.inf)]
    return made("levers", "bars", units, rows)


def check() -> Answer:
    units = {"rule": "text", "table": "text", "count": "count", "examples": "text", "action": "text"}
    rows = [
        ("stale open deals", "opportunities", 31, ("o-7", HOSTILE), "kept"),
        (HOSTILE, "reps", 2, (), "joined"),
    ]
    return made("check", "table", units, rows)


def verdicts() -> Answer:
    units = {"scope": "text", "horizon": "text", "called": "text"}
    units |= {"quotas": "count", "met": "count", "expected": "score"}
    rows = [
        (HOSTILE, "m1", "40% – 60%", 6, 2, 3.1),
        ("rep", "m1", "80% – 100%", 1234, 1100, 1118.0),
        ("company", "m1", "60% – 80%", 36, 28, 25.7),
        ("company", "m2", "60% – 80%", 34, 28, 23.9),
        ("company", "m1", "0% – 20%", 58, 25, 3.8),
        ("company", "m1", "20% – 40%", 0, 0, 0.0),
        ("company", "m1", "unclear", 5, 5, 5.0),
    ]
    return made("verdicts", "reliability", units, rows)


def everything() -> str:
    parts = (quotas(), forecast(), levers(), check(), verdicts())
    return page(
        f"Plan {HOSTILE}", [Section(a, f"On {a.name} {HOSTILE}", a.chart, HOSTILE) for a in parts], PROVENANCE
    )


class Reader(HTMLParser):
    """Collects tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_names_stay_text_everywhere() -> None:
    seen = Reader(everything())
    assert not {"script", "img"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert any(HOSTILE in text for text in seen.texts)


def test_the_page_asks_for_nothing_outside() -> None:
    seen = Reader(everything())
    assert not [a for a in seen.attributes if a[0] in {"src", "href", "srcset", "action"}]
    assert not re.search(r"url\(|@import", everything())


def test_the_page_is_the_same_every_time() -> None:
    assert everything() == everything()


def test_headline_facts_and_provenance() -> None:
    text = everything()
    assert "<h1>About 1 in 4 to reach 12.0M bookings in 2027</h1>" in text
    assert "9.6 – 11.4 – 13.2M" in text
    assert "<dt>versions.numpy</dt><dd>2.1</dd>" in text


def test_the_headline_may_be_given_or_absent() -> None:
    given = dataclasses.replace(quotas(), summary={"headline": "All is well"})
    assert headline([Section(given, "x")]) == "All is well"
    assert headline([Section(check(), "x")]) is None


@pytest.mark.parametrize("width", [350, 960])
@pytest.mark.parametrize(
    "answer",
    [forecast(), quotas(40), levers(), verdicts()],
    ids=["fan", "odds", "bars", "reliability"],
)
def test_charts_are_well_formed_and_inside_their_frame(answer: Answer, width: int) -> None:
    drawn = CHARTS[answer.chart](answer, width)
    assert drawn is not None
    root = ET.fromstring(drawn)
    _, _, right, bottom = map(float, root.attrib["viewBox"].split())
    assert right == width
    space = "{http://www.w3.org/2000/svg}"
    for box in root.iter(f"{space}rect"):
        assert float(box.attrib["x"]) >= 0
        assert float(box.attrib["x"]) + float(box.attrib["width"]) <= right
        assert float(box.attrib["y"]) + float(box.attrib["height"]) <= bottom
    for text in root.iter(f"{space}text"):
        assert 0 <= float(text.attrib["x"]) <= right
        assert 0 <= float(text.attrib["y"]) <= bottom
    assert not re.search(r"\b(nan|inf)\b", drawn)


def test_the_fan_takes_the_company_by_month_with_its_history_and_targets() -> None:
    picked = fan.pick(forecast())
    assert picked is not None
    assert picked.label == "company · bookings"
    assert picked.unit == "money"
    assert picked.periods == tuple(f"2027-{m:02d}" for m in range(1, 7))
    assert picked.slots[:3] == ("2026-10", "2026-11", "2026-12")
    assert picked.targets == {"2027-01": 9e5, "2027-02": 9.5e5}
    assert list(picked.parts) == ["open", "new"]
    assert picked.parts["open"]["2027-01"] == pytest.approx(0.3 * 8e5)


def test_the_fan_stands_a_single_period_and_infinite_ends() -> None:
    whole = forecast()
    one = dataclasses.replace(whole, rows=whole.rows[whole.rows["period"] == "2027"], summary={})
    assert fan.draw(one) is not None
    endless = dataclasses.replace(one, rows=one.rows.assign(p90=np.inf))
    assert fan.draw(endless) is None


def test_the_odds_stand_by_team_best_first() -> None:
    title, drawn = odds.pick(quotas(6))
    assert title == "bookings · 2027 · base"
    assert [b.key for b in drawn] == ["company", "north", "r03", "r00", HOSTILE, "r04", "r01", "r05", "r02"]
    assert drawn[-1].odds is None  # defined in 40 % of the futures only
    assert "not meaningful" in (odds.draw(quotas(6)) or "")


def test_bars_leave_rows_without_a_value() -> None:
    _, drawn = bars.pick(levers())
    assert [b.value for b in drawn] == [6e5, -2e5]


def test_calls_add_up_over_horizons_with_the_interval_of_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    panels = reliability.pick(verdicts())
    assert list(panels) == ["company", "rep", HOSTILE]
    low, high = panels["company"]
    assert (high.quotas, high.met) == (70, 56)
    assert high.called == pytest.approx((25.7 + 23.9) / 70)
    for call in (low, high, panels["rep"][0], reliability.Call(0.8, 1.0, 9, 9, 8.3)):
        np.testing.assert_allclose(
            call.interval, proportion_confint(call.met, call.quotas, method="wilson"), atol=1e-6
        )
    assert [c.holds for c in (low, high)] == [False, True]
    drawn = reliability.draw(verdicts()) or ""
    assert "met 56 of 70 (80%); 71% were expected" in drawn
    assert reliability.draw(quotas()) is None


def test_unknown_charts_are_named() -> None:
    with pytest.raises(QuotacastError, match="pie"):
        pictures(quotas(), "pie")
    assert pictures(check(), "fan") is None


def test_a_table_without_a_caption_keeps_columns_that_are_the_same_throughout() -> None:
    units = {"quarter": "text", "signed": "text", "not signed": "text"}
    answer = made("parts", "table", units, [("Q1", "0", "2.59M"), ("Q2", "0", "2.82M")])
    shown = page("Parts", [Section(answer, "Parts", None, numbers="shown")], PROVENANCE)
    assert re.search(r"<th[^>]*>signed</th>", shown)
    assert shown.count(">0</td>") == 2
    folded = page("Parts", [Section(answer, "Parts", None)], PROVENANCE)
    assert not re.search(r"<th[^>]*>signed</th>", folded)


def test_long_tables_say_what_is_left() -> None:
    long = made("long", "table", {"n": "count"}, [(i,) for i in range(PAGE_ROWS + 17)])
    assert "17 more rows are in the files" in page("x", [Section(long, "x")], {})


@pytest.mark.parametrize(("low", "high"), [(0, 1_600_000), (-3.2, 7.7), (0, 0.013), (5, 5)])
def test_ticks_enclose_and_are_even(low: float, high: float) -> None:
    marks = svg.ticks(low, high)
    assert marks[0] <= low + 1e-9
    assert marks[-1] >= high - 1e-9
    assert np.ptp(np.diff(marks)) == pytest.approx(0, abs=1e-9)
    assert 2 <= len(marks) <= 8


def test_coordinates_have_no_negative_zero() -> None:
    board = svg.Board(10, 10, "x")
    board.rect(-0.01, 0.04, 1.25, 2, "red")
    assert 'x="0" y="0" width="1.2" height="2"' in board.svg()


def test_an_answer_without_rows_has_no_fan() -> None:
    whole = forecast()
    assert fan.pick(dataclasses.replace(whole, rows=whole.rows.iloc[:0])) is None
