"""Histograms of a reading, by Plotly: its own menu saves them as pictures."""

from __future__ import annotations

from plotly import graph_objects

from pellucid_webui.inspection.reading import ENTROPY_STEP, RANK_BINS, ReadingFigures

COLOURS = ("#4c78a8", "#72b7b2", "#eeca3b", "#f58518")
"""From the first ranks to the last: told apart by every kind of colour-blind eye, and by their places."""

INK = "#7a8290"
GRID = "rgba(128,128,128,0.35)"


def rank_histogram(reading: ReadingFigures) -> graph_objects.Figure:
    """How many tokens were among the model's first choices, as GLTR counts them."""
    borders = ["1", *[str(border + 1) for border in RANK_BINS]]
    names = [f"{first}–{last}" for first, last in zip(borders, map(str, RANK_BINS), strict=False)] + [f"{borders[-1]}+"]
    bars = graph_objects.Bar(x=names, y=reading.rank_counts(), marker_color=COLOURS, hovertemplate="rank %{x}: %{y} tokens<extra></extra>")
    return _figure(bars, "rank of the token", "tokens")


def entropy_histogram(reading: ReadingFigures) -> graph_objects.Figure:
    """At what entropies the tokens were chosen."""
    counts = reading.entropy_counts()
    steps = [(index + 0.5) * ENTROPY_STEP for index in range(len(counts))]
    bars = graph_objects.Bar(
        x=steps,
        y=counts,
        width=ENTROPY_STEP * 0.9,
        marker_color=COLOURS[0],
        hovertemplate="about %{x:.2f} bits: %{y} tokens<extra></extra>",
    )
    return _figure(bars, "entropy of the choice, bits", "tokens")


def _figure(bars: graph_objects.Bar, x: str, y: str) -> graph_objects.Figure:
    """With no paper of its own: it stands on light and dark ones, in greys that can be read on both."""
    figure = graph_objects.Figure(bars)
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID, "automargin": True}
    figure.update_layout(
        xaxis={"title": x, **axis},
        yaxis={"title": y, **axis},
        height=280,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        bargap=0.1,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK},
    )
    return figure
