"""The pictures of quotas, levers, scenarios, cushions and cash: positions are the scale of the data."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.answer import Answer, Field
from quotacast.engine.reports import cash, curve, difference, frontier, waterfall
from quotacast.engine.reports.charts import CHARTS, NARROW, WIDE
from quotacast.engine.reports.page import Section, page, sheet

HOSTILE = "<script>alert('x')</script>=cmd|'/c calc'!A1"
SPACE = "{http://www.w3.org/2000/svg}"


def made(chart: str, units: dict[str, str], rows: list[tuple[Any, ...]], **summary: Any) -> Answer:
    fields = tuple(Field(n, u, f"what {n} means") for n, u in units.items())
    summary = {"metric_units": {"bookings": "money", "close_rate": "ratio"}, **summary}
    return Answer(chart, pd.DataFrame(rows, columns=list(units)), fields, "Words.", summary, {}, chart)


def odds(scopes: int = 1) -> Answer:
    """Exponential odds exp(-target / 3e5), so that every point is known."""
    units = dict.fromkeys(("scope", "scope_id", "metric", "period", "mark"), "text")
    units |= {"target": "metric", "probability": "probability"}
    rows = []
    for k in range(scopes):
        scope = ("company", "") if scopes == 1 else ("rep", HOSTILE if k == 1 else f"r{k:02d}")
        head = (*scope, "bookings", "2027")
        rows += [(*head, "", -3e5 * float(np.log(p)), p) for p in np.arange(0.05, 1, 0.05)]
        rows += [
            (*head, "quota", 2.5e5, float(np.exp(-2.5 / 3))),
            (*head, "P50", 3e5 * float(np.log(2)), 0.5),
        ]
    return made("curve", units, rows)


def levers() -> Answer:
    units = {"lever": "text", **dict.fromkeys(("effect", "low", "high"), "money")}
    rows = [("hire", 4.2e5, 1e5, 7e5), (HOSTILE, -0.7e5, -1.2e5, 0.3e5), ("price", 3.1e5, 2e5, 4e5)]
    return made("waterfall", units, [*rows, ("none", np.nan, np.nan, np.nan)], start=10.9e6, target=11.6e6)


def gaps() -> Answer:
    units = dict.fromkeys(("scenario", "scope", "scope_id", "metric", "period", "set"), "text")
    units |= dict.fromkeys(("diff", "p10", "p90"), "metric")
    rows = [
        ("hire_four", "company", "", "bookings", "2027", "", 5.1e5, 2e5, 9e5),
        (HOSTILE, "company", "", "bookings", "2027", "", -2.1e5, -5e5, 6e4),
        ("hire_four", "company", "", "close_rate", "2027", "", 0.001, -0.002, 0.004),
        ("hire_four", "company", "", "bookings", "2027", "base", 9.9e9, 1.0, 2.0),
    ]
    return made("difference", units, rows)


def cushions() -> Answer:
    """As `reconcile` answers: the frontier is in the summary."""
    rows = [
        {"cushion": c, "p_company": 0.35, "rep_odds_median": 0.62 - 1.1 * c, "share_attaining": 0.6 - c}
        for c in (0.1, 0.0, 0.25)
    ]
    facts = {"frontier": rows, "company_odds": 0.7, "rep_odds": 0.5, "room": 0.1}
    return made("frontier", {"scope": "text"}, [("company",)], cushion=facts)


def account() -> Answer:
    units = {"kind": "text", "line": "text", "period": "text"}
    units |= dict.fromkeys(("p10", "p50", "p90"), "money") | {"p_below": "probability"}
    weeks = [
        (f"2027-W{w:02d}", 3e5 - 5e4 * w, 4e5 - 3e4 * w, 5e5 + 1e4 * w, 0.002 * w**2) for w in range(1, 9)
    ]
    rows: list[tuple[Any, ...]] = [("week", "closing", *w) for w in weeks]
    rows += [("week", "payroll", "2027-W01", -9e9, -9e9, -9e9, None)]
    rows += [("month", "closing", "2027-01", -8e9, 1.0, 2.0, 0.9)]
    return made("cash", units, rows, floor=1e5)


ALL = [odds(), odds(7), levers(), gaps(), cushions(), account()]


def shapes(drawn: str | None, tag: str) -> list[dict[str, str]]:
    assert drawn is not None
    return [dict(shape.attrib) for shape in ET.fromstring(drawn).iter(f"{SPACE}{tag}")]


def dots(drawn: str | None) -> dict[str, tuple[float, float]]:
    """Where each dot stands, by its hint."""
    assert drawn is not None
    found = ET.fromstring(drawn).iter(f"{SPACE}circle")
    return {dot[0].text or "": (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in found}


def points(shape: dict[str, str]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (p.split(",") for p in shape["points"].split())]


def straight(values: list[float], pixels: list[float]) -> None:
    """Pixels are a linear scale of values, to the tenth to which they are rounded."""
    slope, start = np.polyfit(values, pixels, 1)
    np.testing.assert_allclose(pixels, np.asarray(values) * slope + start, atol=0.12)
    assert abs(slope) > 0


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize(
    "answer", ALL, ids=["curve", "curves", "waterfall", "difference", "frontier", "cash"]
)
def test_charts_are_well_formed_escaped_and_inside_their_frame(answer: Answer, width: float) -> None:
    drawn = CHARTS[answer.chart](answer, width)
    assert drawn is not None
    root = ET.fromstring(drawn)
    _, _, right, bottom = map(float, root.attrib["viewBox"].split())
    assert right == width
    for text in root.iter(f"{SPACE}text"):
        assert 0 <= float(text.attrib["x"]) <= right
        assert 0 <= float(text.attrib["y"]) <= bottom
        size, shift = float(text.attrib["font-size"]), text.attrib["text-anchor"]
        reach = 0.56 * size * len(text.text or "") * {"start": 1.0, "middle": 0.5, "end": 0.0}[shift]
        assert float(text.attrib["x"]) + reach <= right + 12, text.text
    for line in (*root.iter(f"{SPACE}polyline"), *root.iter(f"{SPACE}polygon")):
        for x, y in points(line.attrib):
            assert 0 <= x <= right
            assert 0 <= y <= bottom
    assert "<script" not in drawn
    assert not re.search(r"\b(nan|inf)\b", drawn)
    assert drawn == CHARTS[answer.chart](answer, width)


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_the_curve_goes_through_its_points_and_the_quota(width: float) -> None:
    answer = odds()
    drawn = curve.draw(answer, width)
    line = max((points(s) for s in shapes(drawn, "polyline")), key=len)
    own = answer.rows[answer.rows["mark"] == ""].sort_values("target")
    straight(list(own["target"]), [x for x, _ in line])
    straight(list(own["probability"]), [y for _, y in line])
    (x, y) = dots(drawn)["target 250k: 43%"]
    slope, start = np.polyfit(own["target"], [p[0] for p in line], 1)
    assert x == pytest.approx(2.5e5 * slope + start, abs=0.12)
    slope, start = np.polyfit(own["probability"], [p[1] for p in line], 1)
    assert y == pytest.approx(np.exp(-2.5 / 3) * slope + start, abs=0.12)


def test_a_quota_at_the_edge_keeps_its_name_in_the_picture() -> None:
    answer = odds()
    rows = answer.rows.copy()
    rows.loc[rows["mark"] == "quota", ["target", "probability"]] = [9e5, 0.05]
    edge = Answer("curve", rows, answer.fields, "", answer.summary, {}, "curve")
    name = next(
        t for t in shapes(curve.draw(edge, NARROW), "text") if t.get("font-weight") and t["font-size"] == "11"
    )
    assert name["text-anchor"] == "end"


def test_levers_begin_where_the_one_before_ended_and_sum_to_the_whole() -> None:
    found = waterfall.pick(levers())
    assert found is not None
    assert [s.start for s in found.steps] == pytest.approx([10.9e6, 11.32e6, 11.25e6])
    assert found.end == pytest.approx(10.9e6 + 4.2e5 - 0.7e5 + 3.1e5)
    boxes = [s for s in shapes(waterfall.draw(levers()), "rect") if s["height"] == "14"]
    low = [10.9e6, 11.25e6, 11.25e6]
    edges = [float(b["x"]) for b in boxes]
    ends = [float(b["x"]) + float(b["width"]) for b in boxes]
    straight([*low, 11.32e6, 11.32e6, 11.56e6], [*edges, *ends])


def test_the_answer_of_levers_is_drawn_as_it_comes() -> None:
    units = {"lever": "text", "p50_part": "metric", "part_p10": "metric", "part_p90": "metric"}
    rows = [("hire", "bookings", 5.0, 1.0, 9.0)]
    answer = made(
        "waterfall", {"lever": "text", "metric": "text", **units}, rows, p50_now=100.0, target=120.0
    )
    found = waterfall.pick(answer)
    assert found == waterfall.Fall(100.0, 120.0, "money", (waterfall.Step("hire", 100.0, 5.0, 1.0, 9.0),))


def test_differences_share_an_axis_by_metric_and_leave_quotas_out() -> None:
    panels = difference.pick(gaps())
    assert [(p.name, p.unit, len(p.gaps)) for p in panels] == [
        ("bookings", "money", 2),
        ("close rate", "ratio", 1),
    ]
    assert [g.clear for p in panels for g in p.gaps] == [True, False, False]
    drawn = difference.draw(gaps())
    spans = [points(s) for s in shapes(drawn, "polyline") if s["stroke-width"] == "3"][:2]
    straight([2e5, 9e5, -5e5, 6e4], [x for span in spans for x, _ in span])


def test_the_frontier_is_in_order_and_to_scale() -> None:
    lines = frontier.pick(cushions())
    assert [[x for x, _ in line.points] for line in lines] == [[0.0, 0.1, 0.25]] * 3
    drawn = [points(s) for s in shapes(frontier.draw(cushions()), "polyline") if s["stroke-width"] == "2.4"]
    straight([y for line in lines for _, y in line.points], [y for line in drawn for _, y in line])
    dashes = {s.get("stroke-dasharray") for s in shapes(frontier.draw(cushions()), "polyline")}
    assert len(dashes) >= 3  # apart without colour


def test_cash_takes_closing_balances_by_week() -> None:
    found = cash.pick(account())
    assert found is not None
    assert len(found.weeks) == 8
    assert found.floor == 1e5
    drawn = cash.draw(account())
    bars = [s for s in shapes(drawn, "rect") if s["fill"] == "#D55E00" and s["height"] != "3"]
    straight([0.002 * w**2 for w in range(1, 9)], [float(b["height"]) for b in bars])
    middle = next(points(s) for s in shapes(drawn, "polyline") if s["stroke-width"] == "2.2")
    straight([w.middle for w in found.weeks], [y for _, y in middle])


def test_charts_without_their_columns_are_not_drawn() -> None:
    other = made("table", {"count": "count"}, [(3,)])
    for name in ("curve", "waterfall", "difference", "frontier", "cash"):
        assert CHARTS[name](other, WIDE) is None


def test_a_sheet_is_one_document_without_script_and_outside_resources() -> None:
    parts = [Section(a, f"On {HOSTILE}", a.chart, HOSTILE, (HOSTILE, ""), "none") for a in ALL]
    parts += [
        Section(None, "Only words", lines=("Said.",)),
        Section(levers(), "Shown", numbers="shown", wide=True),
    ]
    texts = [sheet(HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], parts, {"seed": 7}, HOSTILE) for _ in range(2)]
    assert texts[0] == texts[1]
    assert texts[0].startswith("<!doctype html>")
    assert "<script" not in texts[0]
    assert "&lt;script&gt;" in texts[0]
    assert not re.search(r"url\(|@import|src=|href=", texts[0])
    assert "size: A4" in texts[0]
    assert texts[0].count("<table>") == 1
    assert "Said." in page("x", parts, {})
