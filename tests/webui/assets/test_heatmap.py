"""Tests the heat map in a browser, on a separate page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from itertools import pairwise
from math import exp, isclose, log
from typing import Any
from xml.etree import ElementTree

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from support.page.colour_vision import SIGHTS, ciede2000, contrast, lab
from support.page.heat_page import HeatPage, Record, bounded, many, token
from support.page.page_tabs import COLOURS

OTHERS: list[tuple[int, str | bytes, float]] = [(2, "Hi", 0.2), (3, " hello", 0.1), (4, b"\xf0\x9f", 0.05)]

HELLO = [
    token("Hello", 0.62, id=1, entropy=1.25, sampled=0.81, others=OTHERS),
    token(",", 0.97, id=5),
    token(" world", 0.04, id=6, rank=3, entropy=2.5, others=[(7, " there", 0.6), (8, " you", 0.3)]),
    token("\n", 0.8, id=9),
    token("Bye", 0.0005, id=10, rank=420, entropy=4.0, others=[(7, "And", 0.5)]),
]

LINE = [*[token(" word", 0.5)] * 11, token("\n")]

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 640}, "has_touch": True}

INKS = """() => {
  const filled = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? filled(element.parentElement) : colour;
  };
  return Object.keys(colours.MODES).flatMap((mode) => {
    map.setMode(mode);
    return [...document.querySelectorAll(".pl-token")].flatMap((cell) => {
      const parts = [[cell, null], ...[...cell.querySelectorAll(".pl-glyph")].map((part) => [part, null]),
        ...[...cell.querySelectorAll(".pl-newline, .pl-tab")].map((part) => [part, "::before"])];
      return parts.map(([part, pseudo]) => [mode, filled(cell), getComputedStyle(part, pseudo).color]);
    });
  });
}"""
"""Returns the fill and the colour of every token and of every symbol in a token, in every mode."""

FILLS = """() => {
  const names = ["s", "e", "lower", "higher"].flatMap((scale) => Array.from({ length: 9 }, (_, step) => scale + step));
  const paper = getComputedStyle(document.querySelector(".pl-tokens")).backgroundColor;
  return Object.fromEntries(names.map((name) => {
    map.setMode({ s: "surprisal", e: "entropy" }[name[0]] ?? "difference");
    const fill = getComputedStyle(document.querySelector(`.pl-token.${name}`)).backgroundColor;
    return [name, fill === "rgba(0, 0, 0, 0)" ? paper : fill];
  }));
}"""
"""Returns the fill of every step of the scales."""


@pytest.fixture(scope="module")
def shared(lone_page: Page) -> HeatPage:
    return HeatPage(lone_page)


@pytest.fixture
async def heat(shared: HeatPage) -> AsyncIterator[HeatPage]:
    """Provide a page for a map, and check for errors and requests at the end."""
    await shared.page.set_viewport_size({"width": 1280, "height": 720})
    await shared.page.mouse.move(0, 0)
    yield shared
    assert (shared.problems, shared.requested) == ([], [])


def every_level() -> list[Record]:
    """Return tokens with all steps of all scales."""
    found = []
    for step in range(49):
        bits = step / 4
        found.append(token("a\n\t\x1b", max(2.0**-bits, 1e-9), rank=(1, 50, 500, 5000)[step % 4], entropy=step / 12))
    return found


AXE = "axe.run({ resultTypes: ['violations'] })"
"""Runs axe again, which is in the page already."""

LABELS = "cells => cells.map((cell) => cell.getAttribute('aria-label'))"

MODES = ("probability", "rank", "surprisal", "entropy", "difference")

MARKS = "Array.from({ length: 49 }, (_, step) => ({ text: `difference ${step}`, value: step / 24 - 1 }))"


class TestColours:
    async def test_modes_change_no_element(self, heat: HeatPage) -> None:
        """A new mode recolours the same elements."""
        await heat.open(HELLO)
        fills = {}
        await heat.page.evaluate("window.before = [...document.querySelectorAll('.pl-token')]")
        for mode in ("probability", "rank", "surprisal", "entropy"):
            await heat.page.get_by_label("Colour by").select_option(mode)
            fills[mode] = await heat.cells.nth(4).evaluate(
                "cell => getComputedStyle(cell).backgroundColor + getComputedStyle(cell).textDecoration"
            )
        assert len(set(fills.values())) == 4
        assert await heat.page.evaluate(
            "[...document.querySelectorAll('.pl-token')].every((cell, index) => cell === before[index])"
        )

    @pytest.mark.parametrize("theme", ["", "dark"], ids=["light", "dark"])
    async def test_fills(self, heat: HeatPage, theme: str) -> None:
        """Text has enough contrast on every step, and all colour vision tells the fills apart.

        Lightness alone orders the steps, so that no hue is needed for the order, and the sides of a
        difference are apart.
        """
        await heat.open(every_level(), theme=theme)
        await heat.page.evaluate(f"map.setDifferences({MARKS})")
        inks = {tuple(found) for found in await heat.page.evaluate(INKS)}
        for mode, count in (("probability", 9), ("rank", 4), ("surprisal", 9), ("entropy", 9), ("difference", 17)):
            assert len({fill for used, fill, _ in inks if used == mode}) == count
        assert min(contrast(ink, fill) for _, fill, ink in inks) >= 4.5
        fills: dict[str, str] = await heat.page.evaluate(FILLS)
        for sight, matrix in SIGHTS.items():
            seen = {name: lab(matrix, fill) for name, fill in fills.items()}
            for scale in ("s", "e", "lower", "higher"):
                steps = [seen[f"{scale}{step}"] for step in range(9)]
                lightness = [step[0] for step in steps]
                assert lightness == sorted(lightness, reverse=not theme), sight
                assert min(ciede2000(one, other) for one, other in pairwise(steps)) >= 2.5, sight
            # Without colours the legend and the card have to suffice.
            if sight != "no colour":
                for step in range(4, 9):
                    assert ciede2000(seen[f"lower{step}"], seen[f"higher{step}"]) > 10, sight

    async def test_legend(self, heat: HeatPage) -> None:
        """The legend has a sample of every fill and line of a mode."""
        await heat.open([*every_level(), token("plain", 1.0, entropy=0.0)])
        await heat.page.evaluate(f"map.setDifferences({MARKS})")
        looks = "parts => parts.map((part) => { const { %s } = getComputedStyle(part); return String([%s]); })"
        fills = looks % (("backgroundColor",) * 2)
        lines = looks % (("textDecorationLine, textDecorationStyle, textDecorationThickness",) * 2)
        samples = heat.page.locator(".pl-legend :is(.pl-swatch, .pl-sample)")
        for mode in MODES:
            await heat.page.evaluate("mode => map.setMode(mode)", mode)
            assert await heat.page.get_by_role("group", name="What the colours mean").is_visible()
            for script in (fills, lines):
                used = set(await heat.cells.evaluate_all(script))
                assert used <= set(await samples.evaluate_all(script)), mode

    async def test_lines_in_addition_to_fills(self, heat: HeatPage) -> None:
        """Surprising tokens and unsure choices have lines, distinct for bins of ranks."""
        shown = [*HELLO, token("x", 0.02, rank=50, entropy=0.2), token("y", 0.01, rank=5000, entropy=1.7)]
        await heat.open(shown)

        async def lines(mode: str) -> list[str]:
            await heat.page.evaluate("mode => map.setMode(mode)", mode)
            script = "cells => cells.map((cell) => { const style = getComputedStyle(cell);"
            script += (
                "return style.textDecorationLine === 'none' ? '' : style.textDecorationStyle + "
                "style.textDecorationThickness; })"
            )
            found: list[str] = await heat.cells.evaluate_all(script)
            return found

        assert [bool(line) for line in await lines("probability")] == [False, False, True, False, True, True, True]
        ranks = await lines("rank")
        assert ranks[:4] == [""] * 4
        assert len(set(ranks[4:])) == 3
        assert [bool(line) for line in await lines("entropy")] == [bool(record["e"] / log(2) >= 2) for record in shown]

    async def test_a_mode_that_is_gone(self, heat: HeatPage) -> None:
        """A remembered mode that no longer exists is replaced, with a single notice.

        A mode that never existed is refused by name.
        """
        await heat.open(HELLO)
        await heat.page.evaluate("memory.set('heat.mode', 'two')")
        notices = []
        for _ in range(2):
            await heat.make(HELLO)
            assert await heat.page.get_by_label("Colour by").input_value() == "surprisal"
            notices.append(await heat.page.get_by_role("status").first.inner_text())
        assert "is now two modes" in notices[0]
        assert notices[1] == ""
        message = await heat.page.evaluate(
            "() => { try { map.setMode('rainbow'); } catch (error) { return error.message; } }"
        )
        assert "rainbow" in message
        assert "surprisal" in message

    async def test_unsure_choices(self, heat: HeatPage) -> None:
        """By entropy, the button goes to the next choice as open as a choice among four.

        The button uses the middle of a range, and skips unknown entropies.
        """
        unsure = [bounded("c", 1.5, 3.0), token("d", 0.9, entropy=1.4)]
        await heat.open([token("a", entropy=None), bounded("b", 0.5, 2.5), *unsure, token("e", 0.01, entropy=0.1)])
        await heat.page.get_by_label("Colour by").select_option("entropy")
        for index in ("2", "3", "2"):
            await heat.page.get_by_role("button", name="Next unsure choice").click()
            assert await heat.card.get_attribute("data-index") == index

    async def test_a_range_of_entropies(self, heat: HeatPage) -> None:
        """A token with a range of entropies has the colour of the middle and a mark."""
        middle = token("exact", entropy=2.25 * log(2))
        await heat.open(
            [bounded("between", 1.9, 2.6), middle, token("unknown", entropy=None), token("sure", entropy=0.0)]
        )
        await heat.page.get_by_label("Colour by").select_option("entropy")
        fills = await heat.cells.evaluate_all("cells => cells.map((cell) => getComputedStyle(cell).backgroundColor)")
        lines = await heat.cells.evaluate_all("cells => cells.map((cell) => getComputedStyle(cell).textDecorationLine)")
        assert fills[0] == fills[1]
        assert lines == ["underline overline", "underline", "overline", "none"]
        legend = heat.page.get_by_role("group", name="What the colours mean")
        assert "only a range is known" in await legend.inner_text()
        assert "not reported by the engine" in await legend.inner_text()
        await heat.page.evaluate("records => map.set(records)", [middle])
        assert "range" not in await legend.inner_text()

    async def test_the_card_shows_a_range(self, heat: HeatPage) -> None:
        """The card has both bounds of an entropy, or no number for an unknown entropy."""
        await heat.open([bounded("a", 1.9, 2.6), token("b", entropy=None), bounded("c", 1.9, 1.901)])
        await heat.cells.nth(0).click()
        assert "entropy\n1.90 to 2.60 bits" in await heat.card.inner_text()
        assert await heat.number("entropy") is None
        assert [await heat.number("entropy-low"), await heat.number("entropy-high")] == pytest.approx(
            [1.9 * log(2), 2.6 * log(2)], rel=1e-4
        )
        await heat.press("ArrowRight")
        assert "entropy\n–" in await heat.card.inner_text()
        assert await heat.number("entropy-low") is None
        await heat.press("ArrowRight")
        assert "entropy\n1.90 bits" in await heat.card.inner_text()

    async def test_a_sampling_probability_that_is_not_reported(self, heat: HeatPage) -> None:
        """The card says if the engine does not report a sampling probability."""
        said = "not reported by the engine"
        sampling = "{ temperature: 0.7, top_k: 0, top_p: 1, min_p: 0 }"
        await heat.open([token("a"), token("b")])
        await heat.cells.nth(0).click()
        assert said not in await heat.card.inner_text()
        await heat.page.evaluate(
            f"map.setSampling({sampling}); map.setBranch({{ index: 1, text: 'branched' }}); map.showCard(0)"
        )
        assert f"sampling probability\n{said}" in await heat.card.inner_text()
        await heat.page.evaluate("map.showCard(1)")
        assert "sampling probability\n–" in await heat.card.inner_text()
        await heat.page.evaluate(
            "records => { map.set(records); map.showCard(0); }", [token("a"), token("b", sampled=0.5)]
        )
        assert "sampling probability\n–" in await heat.card.inner_text()
        await heat.make([token("a")], options="{ generated: true }")
        await heat.page.evaluate("map.showCard(0)")
        assert said in await heat.card.inner_text()

    async def test_ranks_can_be_chosen(self, heat: HeatPage) -> None:
        """Users can set increasing borders of the bins, and the browser remembers the borders."""
        await heat.open(HELLO)
        await heat.page.get_by_label("Colour by").select_option("rank")
        first = heat.page.get_by_label("Highest rank of colour 1")
        assert "r0" in str(await heat.cells.nth(2).get_attribute("class"))
        await first.fill("2")
        await first.press("Enter")
        assert "r1" in str(await heat.cells.nth(2).get_attribute("class"))
        await first.fill("500")
        await first.press("Enter")
        assert await first.get_attribute("aria-invalid") == "true"
        assert "increase" in await heat.page.get_by_role("status").first.inner_text()
        assert "r1" in str(await heat.cells.nth(2).get_attribute("class"))
        await heat.make(HELLO)
        assert await heat.page.get_by_label("Colour by").input_value() == "rank"
        assert await heat.page.get_by_label("Highest rank of colour 1").input_value() == "2"

    async def test_a_token_under_a_constraint(self, heat: HeatPage) -> None:
        """Under a constraint, probabilities are relative, and the unconstrained is named."""
        await heat.open([token("mport", 0.36, others=[(2, "nput", 0.04)]) | {"c": 0.4}])
        # One eighth of the way from 100 % to 0 %
        assert "p1" in str(await heat.cells.first.get_attribute("class")).split()
        await heat.cells.first.click()
        card = await heat.card.evaluate("card => ({...card.dataset})")
        shown = await heat.card.locator("[data-probability]").evaluate_all(
            "rows => rows.map((row) => Number(row.dataset.probability))"
        )
        assert isclose(float(card["probability"]), 0.9, rel_tol=1e-4)
        assert isclose(float(card["logprob"]), log(0.36), rel_tol=1e-4)
        assert [round(one, 4) for one in shown] == [0.9, 0.1, 0.0]
        assert "unconstrained\n36.0 %" in await heat.card.inner_text()

    async def test_without_memory(self, browser_page: Page) -> None:
        """A browser that stores nothing shows the map."""
        heat = HeatPage(browser_page)
        await browser_page.add_init_script(
            "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })"
        )
        await heat.open(HELLO)
        await browser_page.get_by_label("Colour by").select_option("surprisal")
        assert await heat.cells.count() == 5
        assert heat.problems == []

    async def test_difference(self, heat: HeatPage) -> None:
        """The result of a comparison is a mode, and n goes to tokens with a large difference."""
        await heat.open(HELLO)
        select = heat.page.get_by_label("Colour by")
        assert await select.locator("[value=difference]").is_disabled()
        await heat.page.evaluate(
            "map.setDifferences([null, {text: 'A by 0.1 bits', value: 0.1}, {text: 'B by 9 bits', value: -0.9}])"
        )
        await select.select_option("difference")
        classes = [str(await heat.cells.nth(index).get_attribute("class")) for index in range(3)]
        assert ["lower" in names or "higher" in names for names in classes] == [False, True, True]
        await heat.page.get_by_role("button", name="Next difference").click()
        assert await heat.focused() == 2
        assert "B by 9 bits" in await heat.card.inner_text()
        assert "B by 9 bits" in str(await heat.cells.nth(2).get_attribute("aria-label"))


class TestKeyboard:
    async def test_walk(self, heat: HeatPage) -> None:
        """Keys move through the text, to its ends and no further, and between marked tokens.

        All tokens are a single tab stop: Tab enters the last focused token, then leaves.
        """
        await heat.open(HELLO)
        await heat.page.evaluate("map.focusToken(0)")
        walked = []
        for key in ("ArrowLeft", "ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
            await heat.press(key)
            walked.append(await heat.focused())
        assert walked == [0, 1, 2, 4, 4, 3, 0]
        walked = []
        for key in ("n", "n", "n", "p"):
            await heat.press(key)
            walked.append(await heat.focused())
        assert walked == [2, 4, 2, 4]
        await heat.page.evaluate("map.setMode('rank'); map.focusToken(2)")
        await heat.press("n")
        assert await heat.focused() == 4
        await heat.page.evaluate("map.focusToken(2)")
        await heat.press("Tab")
        assert await heat.page.evaluate("document.activeElement.id") == "after"
        await heat.press("Shift+Tab")
        assert await heat.focused() == 2
        assert await heat.page.locator("#place [role=option][tabindex='0']").count() == 1

    async def test_lines(self, heat: HeatPage) -> None:
        """Up and down go to the token above and below, and keep the column across a short line."""
        texts = ["one ", "two ", "three\n", "x\n", "four ", "five ", "six\n"]
        await heat.open([token(text) for text in texts])
        await heat.page.evaluate("map.focusToken(2)")
        walked = []
        for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowUp"):
            await heat.press(key)
            walked.append(await heat.focused())
        assert walked == [3, 6, 6, 3, 2, 2]

    async def test_nothing_surprising(self, heat: HeatPage) -> None:
        """Without a surprising token the map shows a notice."""
        await heat.open([token("sure", 0.99)])
        await heat.page.get_by_role("button", name="Next surprising").click()
        assert await heat.page.get_by_text("No surprising tokens.").is_visible()

    async def test_into_the_card(self, heat: HeatPage) -> None:
        """Enter goes to the alternatives, up and down move there, and Escape closes the card."""
        await heat.open(HELLO)
        await heat.page.evaluate("map.focusToken(0)")
        await heat.press("Enter")
        row = "document.activeElement.dataset.alternative"
        assert await heat.page.evaluate(row) == "0"
        await heat.press("ArrowDown", "ArrowDown")
        assert await heat.page.evaluate(row) == "2"
        await heat.press("ArrowUp")
        assert await heat.page.evaluate(row) == "1"
        await heat.press("Escape")
        assert await heat.focused() == 0
        assert await heat.card.count() == 0
        await heat.press("ArrowRight")
        assert await heat.card.count() == 1
        await heat.press("Escape")
        assert await heat.card.count() == 0
        assert await heat.focused() == 1

    async def test_escape_is_used_up(self, heat: HeatPage) -> None:
        """An Escape that closes a card is consumed, and the next Escape is not."""
        await heat.open(HELLO)
        await heat.page.evaluate(
            "window.left = []; document.body.addEventListener('keydown', (e) => e.key === 'Escape' && "
            "left.push(e.defaultPrevented))"
        )
        await heat.page.evaluate("map.focusToken(0)")
        await heat.press("Escape", "Escape")
        assert await heat.page.evaluate("left") == [True, False]

    async def test_branch(self, heat: HeatPage) -> None:
        """Enter or a click on an alternative reports token and alternative.

        An alternative of half a character cannot be chosen, and has a reason.
        """
        await heat.open(HELLO)
        await heat.page.evaluate("map.focusToken(2)")
        await heat.press("Enter", "ArrowUp", "Enter")
        assert await heat.page.evaluate("branched") == [[2, 1]]
        assert await heat.card.count() == 0
        await heat.page.evaluate("map.focusToken(0)")
        half = heat.rows.nth(3)
        assert "⟨F0 9F⟩" in await half.inner_text()
        assert await half.get_attribute("aria-disabled") == "true"
        assert "half a character" in str(await half.get_attribute("title"))
        await half.click(force=True)  # Playwright waits for disabled elements, users do not
        await half.press("Enter")
        await heat.rows.nth(2).click()
        assert await heat.page.evaluate("branched") == [[2, 1], [0, 2]]

    async def test_where_one_cannot_branch(self, heat: HeatPage) -> None:
        """Without branching the alternatives can be focused, and are not buttons.

        A callback receives the focused token.
        """
        select = "{ onSelect: (index) => { window.selected = index; } }"
        await heat.open(HELLO, branches=False, options=select)
        await heat.page.evaluate("map.focusToken(0)")
        assert await heat.page.evaluate("selected") == 0
        await heat.press("Enter", "ArrowDown", "Enter")
        assert await heat.page.evaluate("document.activeElement.dataset.alternative") == "1"
        assert await heat.card.locator("button.pl-alternative").count() == 0


class TestHeard:
    async def test_tokens(self, heat: HeatPage) -> None:
        """A screen reader gets token, probability and rank, and names of invisible characters.

        Half a character is announced as bytes.
        """
        heard = {
            " the": "space the",
            "\n\n": "2 new lines",
            "    ": "4 spaces",
            ");\n": "right parenthesis semicolon new line",
            "\n    ": "new line 4 spaces",
            "x = 1\n}": "x = 1 new line right brace",
            ") {": "right parenthesis left brace",
            " ( ": "space left parenthesis space",
            "\t": "tab",
            "\u202e": "U+202E",
            "naïve": "naïve",
        }
        await heat.open([*(token(text, 0.93) for text in heard), token("", 0.93, data=b"\xf0\x9f"), token("A", None)])
        assert await heat.cells.evaluate_all(LABELS) == [
            *(f"token {name}, 93 percent, rank 1" for name in (*heard.values(), "F0 9F")),
            "token A, no probability",
        ]

    async def test_percent(self, heat: HeatPage) -> None:
        """A probability has no meaningless digits, and is certain or impossible only if true."""
        percents = {
            1.0: "100",
            0.9999999: "more than 99.999",
            0.97254: "97.3",
            0.05: "5",
            0.0103: "1.03",
            0.0002: "0.02",
            1e-9: "less than 0.001",
        }
        await heat.open([token("a", probability) for probability in percents])
        assert await heat.cells.evaluate_all(LABELS) == [
            f"token a, {percent} percent, rank 1" for percent in percents.values()
        ]

    @pytest.mark.parametrize(("theme", "branches"), [("", True), ("dark", False)], ids=["branches-light", "reads-dark"])
    async def test_axe(self, heat: HeatPage, theme: str, branches: bool) -> None:
        """Axe finds nothing in any mode, with and without tokens, the card and the sliders.

        ``test_fills`` measures the tokens' contrast in each mode and theme.
        """
        await heat.open([], theme=theme)
        assert (await Axe().run(heat.page)).response["violations"] == []
        await heat.make([*HELLO, *every_level()[::6]], branches=branches)
        await heat.page.evaluate(f"map.setDifferences({MARKS})")
        for mode in MODES:
            await heat.page.evaluate("mode => map.setMode(mode)", mode)
            assert (await heat.page.evaluate(COLOURS))["violations"] == [], mode
        await heat.page.evaluate("map.focusToken(0)")
        await heat.ask(top_k=1)
        assert (await heat.page.evaluate(AXE))["violations"] == []


class TestCard:
    async def test_numbers(self, heat: HeatPage) -> None:
        """The card has the unchanged numbers of a token, and bars as long as the probabilities."""
        await heat.open(HELLO)
        await heat.page.evaluate("map.focusToken(0)")
        assert await heat.number("logprob") == pytest.approx(log(0.62), rel=1e-5)
        assert await heat.number("probability") == pytest.approx(0.62, rel=1e-5)
        assert await heat.number("sampled") == 0.81
        assert await heat.number("rank") == 1
        assert await heat.number("entropy") == 1.25
        assert await heat.number("surprisal") == pytest.approx(-log(0.62) / log(2), rel=1e-5)
        assert await heat.number("rest") == pytest.approx(0.03, rel=1e-5)
        assert await heat.number("id") == 1
        shown = await heat.card.inner_text()
        for part in ("Hello", "62.0 %", "81.0 %", "0.69 bits", "1.803 bits", "id 1", "all others", "3.00 %"):
            assert part in shown
        logprobs = [float(str(await row.get_attribute("data-logprob"))) for row in await heat.rows.all()]
        assert [exp(one) for one in logprobs] == pytest.approx([0.62, 0.2, 0.1, 0.05], rel=1e-5)
        assert await heat.card.locator("[aria-current=true]").inner_text() == await heat.rows.first.inner_text()
        widths = await heat.card.locator(".pl-bar").evaluate_all(
            "bars => bars.map((bar) => bar.offsetWidth / bar.parentElement.offsetWidth)"
        )
        assert widths == pytest.approx([0.62, 0.2, 0.1, 0.05, 0.03], abs=0.02)

    async def test_not_among_the_alternatives(self, heat: HeatPage) -> None:
        """A token outside of the alternatives has a row, and counts in the rest."""
        await heat.open(HELLO)
        await heat.page.evaluate("map.focusToken(4)")
        assert await heat.rows.count() == 1
        assert "Bye" in await heat.card.locator("[aria-current=true]").inner_text()
        assert await heat.card.get_by_text("all others, this token included").is_visible()
        assert await heat.number("rest") == pytest.approx(0.5, rel=1e-5)

    async def test_read_token(self, heat: HeatPage) -> None:
        """A scored token has no sampled probability, and an unscored token has no numbers."""
        await heat.open([token("A", None), token("b", 0.5)])
        await heat.page.evaluate("map.focusToken(1)")
        assert await heat.number("sampled") is None
        await heat.press("ArrowLeft")
        for name in ("logprob", "probability", "rank", "entropy", "surprisal", "sampled"):
            assert await heat.number(name) is None
        assert "–" in await heat.card.inner_text()

    async def test_bytes(self, heat: HeatPage) -> None:
        """Tokens with parts of characters show bytes; spaces and line ends are visible."""
        await heat.open([token("", 0.9, data=b" \xf0\x9f"), token("😀", 0.9, data=b"\x98\x80"), token(" a\n", 0.9)])
        await heat.page.evaluate("map.focusToken(0)")
        assert "bytes 20 F0 9F" in await heat.card.inner_text()
        await heat.press("ArrowRight")
        assert "bytes 98 80" in await heat.card.inner_text()
        assert "😀" in await heat.card.inner_text()
        await heat.press("ArrowRight")
        assert await heat.card.locator(".pl-name").first.inner_text() == "␣a↵"

    async def test_hover(self, heat: HeatPage) -> None:
        """A resting pointer opens a token's card, which stays while the pointer is inside.

        Escape closes the card, and after hovering, the card shows the focused token again.
        """
        await heat.open(HELLO)
        await heat.cells.nth(2).hover()
        await heat.card.wait_for()
        assert await heat.number("index") == 2
        assert await heat.focused() is None
        await heat.card.hover(position={"x": 40, "y": 40})
        await heat.page.wait_for_timeout(400)
        assert await heat.card.count() == 1
        await heat.page.mouse.move(2, 2)
        await heat.card.wait_for(state="detached")
        await heat.cells.nth(2).hover()
        await heat.card.wait_for()
        await heat.press("Escape")
        assert await heat.card.count() == 0
        await heat.page.mouse.move(2, 2)
        await heat.page.evaluate("map.focusToken(0)")
        await heat.cells.nth(2).hover()  # In the same line, as the card covers the next
        await heat.page.wait_for_selector(".pl-card[data-index='2']")
        await heat.page.mouse.move(2, 2)
        await heat.page.wait_for_selector(".pl-card[data-index='0']")

    async def test_close(self, heat: HeatPage) -> None:
        """An outside click closes the card, as does a button outside the tab order.

        A click into the card keeps the card open, and the button returns the focus to the token.
        """
        await heat.open(HELLO)
        await heat.cells.nth(2).click()
        await heat.card.click(position={"x": 5, "y": 5})
        assert await heat.card.count() == 1
        close = heat.card.get_by_role("button", name="Close")
        assert await close.get_attribute("tabindex") == "-1"
        await close.click()
        assert await heat.card.count() == 0
        assert await heat.focused() == 2
        await heat.cells.nth(0).click()
        await heat.page.mouse.click(2, 2)
        assert await heat.card.count() == 0

    @pytest.mark.parametrize("browser_page", [PHONE], indirect=True, ids=["phone"])
    async def test_phone(self, browser_page: Page) -> None:
        """On a phone a tap opens a card that fits the screen and does not cover the token."""
        heat = HeatPage(browser_page)
        await heat.open(many(150))
        for index in (0, 5, 10, 149):
            await heat.page.evaluate(
                "index => document.querySelectorAll('.pl-token')[index].scrollIntoView({block: 'end'})", index
            )
            await heat.cells.nth(index).tap()
            box = await heat.card.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["y"] >= 0
            assert box["x"] + box["width"] <= 360
            assert box["y"] + box["height"] <= 640
            place = await heat.cells.nth(index).evaluate(
                "cell => { const { top, bottom } = cell.getClientRects()[0]; return [top, bottom]; }"
            )
            assert box["y"] + box["height"] <= place[0] or box["y"] >= place[1]
            await heat.card.get_by_role("button", name="Close").tap()
            assert await heat.card.count() == 0
        assert await heat.page.evaluate("document.documentElement.scrollWidth") == 360

    async def test_low_window(self, heat: HeatPage) -> None:
        """In a window lower than the card, the card scrolls to the last row."""
        await heat.page.set_viewport_size({"width": 700, "height": 330})
        await heat.open(many(40))
        await heat.page.evaluate("map.focusToken(14)")
        box = await heat.card.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 330
        await heat.press("Enter", "End")
        row = await heat.rows.last.bounding_box()
        assert row is not None
        assert box["y"] <= row["y"]
        assert row["y"] + row["height"] <= box["y"] + box["height"]

    async def test_two_maps(self, heat: HeatPage) -> None:
        """A page has a single open card: a card of a second map closes the first."""
        await heat.page.set_viewport_size({"width": 1280, "height": 1200})
        await heat.open(HELLO)
        # The margin puts the second map below the card of the first map.
        await heat.page.evaluate(
            "records => { const place = document.createElement('div'); document.querySelector('main').append(place);"
            "place.style.marginTop = '30rem';"
            "window.other = new HeatMap(place, { label: 'Other' }); other.set(records); }",
            HELLO,
        )
        await heat.page.evaluate("map.focusToken(0)")
        await heat.page.locator("[aria-label=Other] [role=option]").first.hover()
        await heat.page.wait_for_function("other.card.isOpen && !map.card.isOpen")
        await heat.page.evaluate("other.destroy()")


class TestText:
    async def test_text_as_it_is(self, heat: HeatPage) -> None:
        """Spaces and blank lines are kept, and lines break where the text breaks."""
        text = "def f(x):\n    return  x\n\n\n# end"
        await heat.open(
            [token(part) for part in ("def", " f", "(x", "):\n", "    ", "return", "  x", "\n\n\n", "# end")]
        )
        shown = await heat.page.locator(".pl-tokens").evaluate("list => list.textContent")
        tops = await heat.cells.evaluate_all("cells => cells.map((cell) => Math.round(cell.getClientRects()[0].top))")
        assert shown == text
        assert tops[0] == tops[3] < tops[4] == tops[7] < tops[8]
        line = tops[4] - tops[0]
        assert tops[8] - tops[0] == pytest.approx(4 * line, abs=2)

    async def test_blocks_do_not_add_lines(self, heat: HeatPage) -> None:
        """The end of a block of tokens adds or loses no line."""
        await heat.open([token(f"{index}\n") for index in range(250)])
        await heat.page.add_style_tag(content=".pl-heat .pl-block-of-tokens { content-visibility: visible; }")
        tops = await heat.cells.evaluate_all("cells => cells.map((cell) => cell.getBoundingClientRect().top)")
        steps = {round(after - before) for before, after in pairwise(tops)}
        assert max(steps) - min(steps) <= 1

    async def test_blocks_are_guessed_well(self, heat: HeatPage) -> None:
        """A block has the final height before the layout, so that the page does not jump."""
        texts = ["def", " f", "(x):", "\n   ", " return", " x", "\n\n"]
        await heat.open([token(text) for _ in range(100) for text in texts])
        heights = "blocks => blocks.map((block) => block.offsetHeight)"
        blocks = heat.page.locator(".pl-block-of-tokens")
        guessed = await blocks.evaluate_all(heights)
        await heat.page.add_style_tag(content=".pl-heat .pl-block-of-tokens { content-visibility: visible; }")
        assert len(guessed) > 4
        assert guessed == pytest.approx(await blocks.evaluate_all(heights), abs=1)

    async def test_hostile(self, heat: HeatPage) -> None:
        """Scripts, templates and external images are text, and nothing is loaded."""
        texts = [
            "<script>window.hurt = 1</script>",
            "<img src='http://elsewhere.test/x.png' onerror='window.hurt = 1'>",
            "${window.hurt = 1}",
            "{{window.hurt = 1}}",
            "![x](http://elsewhere.test/y.png)",
            "</div></main>",
            "&lt;b&gt;",
        ]
        others = [(100 + index, text, 0.05) for index, text in enumerate(texts)]
        await heat.open([token(text, 0.5, id=index, others=others) for index, text in enumerate(texts)])
        await heat.page.evaluate(f"map.setDifferences([{{ text: {texts[1]!r}, value: 1 }}])")
        for index in range(len(texts)):
            await heat.page.evaluate("index => map.focusToken(index)", index)
        await heat.page.wait_for_timeout(100)
        assert await heat.cells.all_inner_texts() == texts
        assert await heat.page.evaluate("window.hurt") is None

    async def test_nothing_hidden(self, heat: HeatPage) -> None:
        """Invisible characters get a visible form, half a character is shown as bytes.

        A marker without text is shown by name.
        """
        shown = {
            "\x1b[0m": "␛[0m",
            "\x00": "␀",
            "\x7f": "␡",
            "\x85": "⟨U+0085⟩",
            "\u202eevil": "⟨U+202E⟩evil",
            "a\u200bb": "a⟨U+200B⟩b",
            "\ufeff": "⟨U+FEFF⟩",
            "\U000e0041": "⟨U+E0041⟩",
            "\u3164": "⟨U+3164⟩",
            "\r\n": "␍\n",
            "❤\ufe0f": "❤\ufe0f",
            "\ufe0f": "⟨U+FE0F⟩",
            "a\u2028b": "a⟨U+2028⟩b",
            "\ufffd": "\ufffd",
        }
        halves = [("", b"\xf0\x9f"), ("😀", b"\x98\x80"), ("a\ufffd", b"a\xff"), ("", b"<|im_end|>"), ("", b"")]
        await heat.open([*map(token, shown), *(token(text, data=data) for text, data in halves)])
        found = await heat.cells.evaluate_all("cells => cells.map((cell) => cell.textContent)")
        assert found == [*shown.values(), "⟨F0 9F⟩", "😀", "a⟨FF⟩", "⟨<|im_end|>⟩", "⟨⟩"]

    async def test_right_to_left(self, heat: HeatPage) -> None:
        """Tokens are in the order of the text, for any text direction."""
        await heat.open([token(text) for text in ("if ", "\u202e", "שלום", " ", "عالم", ")", "\u2067", " x")])
        lefts = await heat.cells.evaluate_all("cells => cells.map((cell) => cell.getClientRects()[0].left)")
        assert lefts == sorted(lefts)

    async def test_long_line(self, heat: HeatPage) -> None:
        """A line of 20,000 characters without a space is wrapped on a phone, also in the card."""
        await heat.page.set_viewport_size(PHONE["viewport"])
        await heat.open([token("x" * 20_000, 0.5), token("\n"), *[token("yyyyy") for _ in range(500)]])
        assert await heat.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        await heat.page.evaluate("map.focusToken(0)")
        box = await heat.card.bounding_box()
        assert box is not None
        assert box["height"] <= 640

    async def test_words_stay_whole(self, heat: HeatPage) -> None:
        """A word of several tokens is not broken between tokens if the word fits a line."""
        await heat.open([token(text) for _ in range(60) for text in (" in", "comp", "rehens", "ible")])
        tops = await heat.cells.evaluate_all(
            "cells => cells.map((cell) => { const rects = cell.getClientRects(); return rects[rects.length - 1].top; })"
        )
        assert len(set(tops)) > 1
        assert all(len({round(top) for top in tops[start : start + 4]}) == 1 for start in range(0, 240, 4))


class TestManyTokens:
    async def test_windowing(self, heat: HeatPage) -> None:
        """Only blocks near the window are laid out, and a distant token can be focused."""
        await heat.open(LINE * 170)
        script = "() => [...document.querySelectorAll('.pl-tokens [role=group]')].map((block) => "
        script += "block.firstElementChild.checkVisibility({ contentVisibilityAuto: true }))"
        await heat.page.wait_for_function(
            f"() => {{ const laid = ({script})(); return laid[0] && !laid[laid.length - 1]; }}"
        )
        laid = await heat.page.evaluate(script)
        assert 15 <= len(laid) <= 20
        assert sum(laid) <= 10
        await heat.page.evaluate("map.focusToken(2039)")
        await heat.page.wait_for_function(f"() => {{ const laid = ({script})(); return laid[laid.length - 1]; }}")
        assert await heat.focused() == 2039
        box = await heat.cells.nth(2039).bounding_box()
        assert box is not None
        assert 0 <= box["y"] <= 720

    async def test_few_are_described(self, heat: HeatPage) -> None:
        """Marks and limits of ranks cost only tokens near the window, at first."""
        await heat.open(LINE * 510)
        await heat.page.wait_for_function("map.cells.made[0] !== undefined && !map.cells.awaited.length")
        await heat.page.evaluate(
            "() => { window.described = 0; const own = map.description.bind(map);"
            " map.description = (index) => { window.described += 1; return own(index); }; }"
        )
        marks = "map.setDifferences(map.records.map((_, index) => ({ text: `mark ${index}`, value: 1 })))"
        for change in (marks, "map.chooseRanks([1, 2, 3])"):
            await heat.page.evaluate(f"() => {{ window.described = 0; {change}; }}")
            assert 0 < await heat.page.evaluate("window.described") < 3_000
            assert "mark 0" in str(await heat.page.locator("[data-token='0']").get_attribute("aria-label"))
        await heat.page.evaluate("map.focusToken(6_118)")
        assert "mark 6118" in str(await heat.page.locator("[data-token='6118']").get_attribute("aria-label"))

    async def test_add(self, heat: HeatPage) -> None:
        """New tokens are appended, and existing tokens remain the same elements."""
        records = many(250)
        await heat.open(records[:120])
        await heat.page.evaluate("window.before = [...document.querySelectorAll('.pl-token')]; map.focusToken(3)")
        await heat.page.evaluate(
            "records => { for (let at = 0; at < records.length; at += 7) map.add(records.slice(at, at + 7)); }",
            records[120:],
        )
        assert await heat.page.evaluate(
            "before.every((cell, index) => cell === document.querySelectorAll('.pl-token')[index])"
        )
        assert await heat.focused() == 3
        assert await heat.card.count() == 1
        streamed = await heat.page.locator(".pl-tokens").inner_html()
        await heat.make(records)
        whole = await heat.page.locator(".pl-tokens").inner_html()
        assert _plain(streamed) == _plain(whole)

    async def test_set_again(self, heat: HeatPage) -> None:
        """New tokens replace the existing tokens; the keyboard focus stays in the map."""
        await heat.open(many(50))
        await heat.page.evaluate("map.setDifferences([]); map.setMode('difference'); map.focusToken(40)")
        await heat.page.evaluate("records => map.set(records)", HELLO)
        assert await heat.cells.count() == 5
        assert await heat.focused() == 0
        assert await heat.page.locator(".pl-heat").get_attribute("data-mode") == "probability"

    async def test_empty(self, heat: HeatPage) -> None:
        """Without tokens the map shows a notice and no list."""
        await heat.open([])
        assert await heat.page.get_by_text("No tokens yet.").is_visible()
        assert not await heat.page.locator("[role=listbox]").is_visible()
        await heat.page.evaluate("records => map.add(records)", HELLO)
        assert await heat.page.locator("[role=listbox]").is_visible()

    async def test_destroy(self, heat: HeatPage) -> None:
        """A destroyed map leaves no elements and no listeners."""
        await heat.open(HELLO)
        await heat.page.evaluate("map.focusToken(1); map.destroy(); delete window.map;")
        await heat.press("Escape", "n")
        await heat.page.set_viewport_size({"width": 500, "height": 500})
        assert await heat.page.locator("#place").evaluate("place => place.childElementCount") == 0


class TestSurprisalBars:
    async def test_leads_to_tokens(self, heat: HeatPage) -> None:
        """A click on a bar focuses the token, and bars and tokens mark each other.

        The surprisal bars have a description, and are not in the tab order.
        """
        await heat.open(HELLO)
        line = heat.page.get_by_role("img", name="Surprisal of 5 tokens: at most 11.0 bits, for “Bye”")
        cursor = heat.page.locator(".pl-spark-cursor")
        await heat.page.wait_for_function("document.querySelector('.pl-spark-bars').hasAttribute('d')")
        assert await line.get_attribute("tabindex") is None
        await line.hover(position={"x": 30, "y": 10})
        assert "pl-pointed" in str(await heat.cells.nth(2).get_attribute("class"))
        await line.click(position={"x": 54, "y": 10})
        assert await heat.focused() == 4
        at_end = float(str(await cursor.get_attribute("x")))
        await heat.press("Home")
        assert float(str(await cursor.get_attribute("x"))) < at_end

    async def test_more_tokens_than_pixels(self, heat: HeatPage) -> None:
        """A column shared by several tokens shows the most surprising token."""
        records = [token("a ", 0.99)] * 2_000
        records[1_001] = token("b ", 1e-4)
        await heat.open(records)
        await heat.page.wait_for_function("document.querySelector('.pl-spark-bars').hasAttribute('d')")
        columns = await heat.page.evaluate("map.surprisalBars.columns")
        assert len(columns) < 1_000
        assert 1_001 in columns

    async def test_saved(self, heat: HeatPage) -> None:
        """The surprisal bars of all tokens can be saved as an image with a description."""
        await heat.open([])
        button = heat.page.get_by_role("button", name="Download chart: surprisal of all tokens")
        assert await button.is_disabled()
        await heat.page.evaluate("records => map.add(records)", HELLO)
        async with heat.page.expect_download() as waited:
            await button.click()
        saved = await waited.value
        assert saved.suggested_filename == "surprisal.svg"
        root = ElementTree.parse(await saved.path()).getroot()
        title, path = list(root)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert title.text == "Surprisal of 5 tokens: at most 11.0 bits, for “Bye”"
        assert path.attrib["d"].count("M") == 5
        assert path.attrib["fill"].startswith("rgb(")


class TestWhatIf:
    OWN = "{ temperature: 0.7, top_k: 0, top_p: 0.9, min_p: 0 }"

    async def test_own_settings(self, heat: HeatPage) -> None:
        """At the server's settings nothing is dropped, and the card has the sampled probability."""
        await heat.open(HELLO)
        await heat.page.evaluate(f"map.setSampling({self.OWN})")
        await heat.page.get_by_text("What if…").click()
        assert await heat.page.get_by_role("slider", name="Temperature").input_value() == "0.7"
        await heat.page.evaluate("map.focusToken(0)")
        verdict = heat.card.locator("[data-whatif]").first
        await verdict.wait_for()
        assert float(str(await verdict.get_attribute("data-whatif"))) == pytest.approx(0.81, abs=1e-4)
        assert await heat.page.get_by_role("button", name="Reset to the settings that were used").is_disabled()

    async def test_sliders_drop(self, heat: HeatPage) -> None:
        """Dropped tokens are struck through, and most surprising, until the sliders are reset."""
        await heat.open(HELLO)
        await heat.page.get_by_text("What if…").click()
        slider = heat.page.get_by_role("slider", name="Top-k")
        await slider.fill("2")
        await heat.page.wait_for_selector(".pl-dropped")
        dropped = "cells => cells.map((cell) => cell.classList.contains('pl-dropped'))"
        assert await heat.cells.evaluate_all(dropped) == [False, False, True, False, True]
        assert "would have been dropped" in str(await heat.cells.nth(2).get_attribute("aria-label"))
        assert "s8" in str(await heat.cells.nth(2).get_attribute("class")).split()
        await expect(heat.page.locator(".pl-spark")).to_have_attribute(
            "aria-label", re.compile("What if: dropped tokens")
        )
        await heat.page.evaluate("map.focusToken(0)")
        assert await heat.rows.evaluate_all("rows => rows.map((row) => row.classList.contains('pl-out'))") == [
            False,
            False,
            True,
            True,
        ]
        assert float(str(await heat.rows.nth(0).get_attribute("data-whatif"))) == pytest.approx(0.62 / 0.82, abs=1e-4)
        await heat.page.evaluate("map.focusToken(2)")
        assert "would have been dropped" in await heat.card.inner_text()
        await heat.page.get_by_role("button", name="Reset to the model's own distribution").click()
        await heat.page.wait_for_function("!document.querySelector('.pl-dropped')")
        assert "s8" not in str(await heat.cells.nth(2).get_attribute("class")).split()
        await slider.fill("1")
        await heat.page.wait_for_selector(".pl-dropped")
        await heat.page.get_by_text("What if…").click()
        await heat.page.wait_for_function("!document.querySelector('.pl-dropped')")

    async def test_streaming(self, heat: HeatPage) -> None:
        """New and replaced tokens are judged while the sliders are open."""
        await heat.open(HELLO[:1])
        await heat.ask(top_k=2)
        await heat.page.evaluate("records => map.add(records)", HELLO[1:])
        assert await heat.page.locator(".pl-dropped").count() == 2
        await heat.page.evaluate("records => map.set(records)", HELLO[2:])
        assert await heat.page.locator(".pl-dropped").count() == 2

    async def test_bounds_are_shown(self, heat: HeatPage) -> None:
        """A probability that depends on unknown values is shown as approximate, with bounds."""
        await heat.open([token("a", 0.3, entropy=5.0, others=[(8, "b", 0.1)])])
        await heat.ask(temperature=1.6)
        await heat.page.evaluate("map.focusToken(0)")
        number = heat.rows.first.locator(".pl-number-weighed")
        assert (await number.inner_text()).startswith("≈")
        assert "between" in str(await number.get_attribute("title"))


def _plain(html: str) -> str:
    """Return a map's HTML without the id, the focus and the card."""
    for part in (' data-shown=""', ' aria-selected="true"', ' tabindex="0"', ' tabindex="-1"'):
        html = html.replace(part, "")
    return "".join(part.split("-", 1)[1] if index else part for index, part in enumerate(html.split('id="pl-heat-')))
