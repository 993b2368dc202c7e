"""Show a run as one page of HTML that needs nothing else. Models and files are not trusted: all text is escaped.

The page has no script, and a policy that forbids any, along with the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from edgetts.evaluation.charts import Axis, Chart, amount_axis, share_axis
from edgetts.evaluation.record import ProblemRecord, Run
from edgetts.evaluation.summary import Summary, confidences, summarize
from edgetts.evaluation.wording import summary_rows
from edgetts.selection.confidence import reliability, selective_curve

MOST_ROWS = 2_000
"""Problems in the table; a browser takes no more in its stride."""
CLIP = 400
"""Characters of a text that are shown."""
_BARS = 20
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2128;--paper:#fff;--soft:#d0d7de;--mark:#2f6fd0;--good:#1a7f37;--bad:#b4232c}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#11151a;--soft:#3a424c;--mark:#6aa5ff;--good:#56c271;--bad:#ff7b72}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:2rem auto;max-width:60rem;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:0 0 .3rem}.sub{opacity:.75;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--soft);vertical-align:top;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:1.5rem;margin:1.5rem 0}
figure{margin:0}svg{width:100%;height:auto;font-size:11px;fill:var(--ink)}.axis{stroke:var(--ink)}.grid{stroke:var(--soft);stroke-width:.5}
.line{fill:none;stroke:var(--mark);stroke-width:2}.guide{fill:none;stroke:var(--ink);stroke-width:1;stroke-dasharray:4 4;opacity:.5}
.bar{fill:var(--mark);opacity:.8}.band{fill:var(--mark);opacity:.15}.point{fill:var(--mark)}
.right{color:var(--good)}.wrong{color:var(--bad)}.num{text-align:right;white-space:nowrap}details{white-space:pre-wrap}summary{white-space:normal}
"""


def report_html(run: Run, summary: Summary | None = None) -> str:
    """Return the page: what was run, the figures, the charts there are data for, and the problems."""
    summary = summary or summarize(run)
    title = f"{summary.task or 'run'} · {summary.model or 'unnamed model'}"
    figures = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in summary_rows(summary)
    )
    charts = "".join(
        f"<figure><h2>{escape(name)}</h2>{chart.svg()}</figure>" for name, chart in _charts(run, summary)
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="sub">{escape(_settings(run))}</p>'
        f'<table>{figures}</table><div class="charts">{charts}</div>{_problems(run.problems)}</body></html>\n'
    )
    # Half a character, which a JSON file may hold, has no UTF-8.
    return page.encode("utf-8", "replace").decode("utf-8")


def _settings(run: Run) -> str:
    """Return what the header says, but for what the title has."""
    parts = []
    for name, value in run.header.items():
        if name in ("kind", "format", "task", "model", "fields") or value in (None, {}, []):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k}={v}" for k, v in value.items() if v not in (None, "", [], False, 0))
        parts.append(f"{name.replace('_', ' ')}: {_clip(str(value))}")
    return " · ".join(part for part in parts if not part.endswith(": "))


def _charts(run: Run, summary: Summary) -> list[tuple[str, Chart]]:
    charts: list[tuple[str, Chart]] = []
    sure, right, source = confidences(run.problems)
    if sure:
        chart = Chart("Reliability", share_axis(f"confidence: {source}"), share_axis("right"))
        for bar in reliability(sure, right):
            note = f"{bar.count} answers of mean confidence {bar.confidence:.0%}, {bar.accuracy:.0%} right"
            chart.bar(bar.low, bar.high, bar.accuracy, note)
            chart.point(bar.confidence, bar.accuracy, note)
        chart.line([(0, 0), (1, 1)], "guide")
        charts.append(("Reliability: how often answers of a confidence are right", chart))
        chart = Chart("Selective accuracy", share_axis("share answered, surest first"), share_axis("right"))
        points = selective_curve(sure, right)
        chart.line([(0, sum(right) / len(right)), (1, sum(right) / len(right))], "guide")
        chart.line([(point.coverage, point.accuracy) for point in points])
        for point in points[:200]:
            chart.point(
                point.coverage,
                point.accuracy,
                f"confidence of at least {point.threshold:.3g}: {point.coverage:.0%} answered, {point.accuracy:.0%} right",
            )
        charts.append(("Selective accuracy: answering only when sure", chart))
    passes = summary.pass_at_k
    if passes is not None and len(passes.at) > 1:
        sizes = list(passes.at)
        top = math.log2(max(sizes))
        x = Axis("samples (k)", 0.0, top, tuple((math.log2(k), str(k)) for k in sizes))
        chart = Chart("pass@k", x, share_axis("some sample right"))
        chart.band([(math.log2(k), one.low, one.high) for k, one in passes.at.items()])
        chart.line([(math.log2(k), one.value) for k, one in passes.at.items()])
        for k, one in passes.at.items():
            chart.point(
                math.log2(k), one.value, f"pass@{k}: {one.value:.1%} ({one.low:.1%} to {one.high:.1%})"
            )
        charts.append(("pass@k: how often one of k samples is right", chart))
    lengths = [float(len(sample.tokens)) for problem in run.problems for sample in problem.samples]
    if any(lengths):
        charts.append(("Tokens of a sample", _histogram(lengths)))
    return charts


def _histogram(lengths: Sequence[float]) -> Chart:
    x = amount_axis("tokens", max(lengths))
    width = x.high / _BARS
    counts = [0] * _BARS
    for length in lengths:
        counts[min(_BARS - 1, int(length / width))] += 1
    chart = Chart("Tokens of a sample", x, amount_axis("samples", float(max(counts))))
    for at, count in enumerate(counts):
        low, high = at * width, (at + 1) * width
        chart.bar(low, high, float(count), f"{count} samples of {low:.0f} to {high:.0f} tokens")
    return chart


def _problems(problems: Sequence[ProblemRecord]) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in ("problem", "question", "reference", "answer", "sure", "tokens", "seconds")
    )
    rows = "".join(_row(problem) for problem in problems[:MOST_ROWS])
    left = len(problems) - MOST_ROWS
    more = f"<p>{left} more problems are in the record.</p>" if left > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _row(problem: ProblemRecord) -> str:
    grade = {True: "right", False: "wrong", None: ""}[problem.right]
    shown = problem.error or ("abstained" if problem.abstained else problem.answer)
    if shown is None:
        shown = "no answer" if problem.right is None or not problem.samples else grade
    text = next((sample.text for sample in problem.samples if sample.index == problem.chosen), "")
    whole = f"<details><summary>text</summary>{escape(_clip(text, 4 * CLIP))}</details>" if text else ""
    cells: list[tuple[str, Any]] = [
        ("", escape(_clip(problem.id))),
        ("", escape(_clip(problem.question))),
        ("", escape(_clip(problem.reference or ""))),
        (grade, f"{escape(_clip(shown))}{whole}"),
        ("num", "" if problem.confidence is None else f"{problem.confidence:.0%}"),
        ("num", f"{problem.tokens:,}"),
        ("num", "" if problem.seconds is None else f"{problem.seconds:.1f}"),
    ]
    return "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in cells) + "</tr>"


def _clip(text: str, most: int = CLIP) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
