"""How a chart is made: panels side by side, in a file that is the same whenever it is drawn from the same data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

SETTINGS = {"svg.hashsalt": "gaesess", "svg.fonttype": "none", "font.size": 10}


@contextmanager
def panels(path: Path, count: int, legend_columns: int) -> Iterator[Any]:
    """Give the axes of that many panels to plot in; then draw them, with the legend of the first below."""
    with pyplot.rc_context(SETTINGS):
        figure, axes = pyplot.subplots(1, count, figsize=(9.5, 4.2), sharey=True, layout="constrained")
        yield axes
        for panel in axes:
            panel.minorticks_off()
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter("{x:,.0f}")
            panel.grid(alpha=0.3)
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=legend_columns, frameon=False
        )
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
