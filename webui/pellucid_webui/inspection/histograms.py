"""Draws the histograms of a scored text with Plotly, whose menu can save them as images."""

from __future__ import annotations

from plotly import graph_objects

from pellucid_webui.inspection.reading_figures import ENTROPY_STEP, RANK_BINS, ReadingFigures

COLOURS = ("#4c78a8", "#72b7b2", "#eeca3b", "#f58518")
"""Colours from the lowest to the highest ranks, which stay distinct with every kind of colour blindness."""

INK = "#7a8290"
GRID = "rgba(128,128,128,0.35)"


def rank_histogram(reading: ReadingFigures) -> graph_objects.Figure:
    """Return a histogram of the tokens by rank, in the classes of GLTR."""
    borders = ["1", *[str(border + 1) for border in RANK_BINS]]
    names = [f"{first}–{last}" for first, last in zip(borders, map(str, RANK_BINS), strict=False)] + [f"{borders[-1]}+"]
    bars = graph_objects.Bar(x=names, y=reading.rank_counts(), marker_color=COLOURS, hovertemplate="rank %{x}: %{y} tokens<extra></extra>")
    return _figure(bars, "rank of the token", "tokens")


def entropy_histogram(reading: ReadingFigures) -> graph_objects.Figure:
    """Return a histogram of the tokens by the entropy of the choice."""
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
    """Return a figure with a transparent background and greys that are readable on light and dark pages."""
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
