"""The templates of the pages, and what goes into them: charts as SVG, texts without bad line breaks."""

import re
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from steersman.report.figures import Chart, inline_svg


@dataclass(frozen=True)
class Drawn:
    """A chart ready for the template: panels with their SVG."""

    chart: Chart
    panels: tuple[tuple[str, str, Markup], ...]


def drawn(chart: Chart) -> Drawn:
    """A chart's panels as name, description and SVG; the one place where markup passes as it is."""
    # our own drawing, in which matplotlib has escaped every text
    return Drawn(chart, tuple((each.name, each.description, Markup(inline_svg(each))) for each in chart.panels))


def _tied(text: str) -> str:
    """No line breaks inside "47 %", "n = 60", "+0.31 nats" and ranges such as "−4.0 to +1.5"."""
    text = re.sub(r" %", "\u00a0%", text)
    text = re.sub(r"\bn = (?=\d)", "n\u00a0=\u00a0", text)
    text = re.sub(r"(?<=\d) (?=points?\b|nats\b)", "\u00a0", text)
    text = re.sub(r"(?<=\d)\u2013(?=\d)", "\u2060\u2013\u2060", text)
    return re.sub(r"(?<=\d) to (?=[+\u2212]?\d)", "\u00a0to\u00a0", text)


def environment() -> Environment:
    """The templates, with everything that is put into them escaped."""
    environment = Environment(
        loader=PackageLoader("steersman.report", "templates"),
        autoescape=True,  # completions may hold HTML, also by intent
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tied"] = _tied
    return environment
