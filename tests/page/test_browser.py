"""The page in a real browser: no errors, nothing is loaded, and the verdict is visible at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.page.write import write
from tests.page import browser
from tests.page.browser import Tab, tab
from tests.steps.builders import judged_run

pytestmark = pytest.mark.skipif(
    browser.installed() is None,
    reason=f"no browser is installed: none of {', '.join(browser.NAMES)} starts",
)

PHONE, DESK = (390, 844), (1440, 900)
#: The box of the word on the screen, and the size of the window.
_WORD = """(() => {
  const box = document.querySelector("h1").getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom, innerWidth, innerHeight, document.documentElement.scrollWidth];
})()"""
_COLUMN = "[...document.querySelector('section table').tBodies[0].rows].map(row => row.children[{}].textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write(judged_run(folder / "run"), folder / "report")
    return folder / "report" / "report.html"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser.started(tmp_path_factory.mktemp("profile")) as result:
        yield result


@pytest.mark.parametrize("size", [PHONE, DESK], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_verdict_is_visible_at_once_and_nothing_is_loaded(
    page: Path, address: str, size: tuple[int, int], tmp_path: Path, *, dark: bool
) -> None:
    async def look() -> tuple[Tab, list[float], str]:
        async with tab(address) as opened:
            await opened.open(page, width=size[0], height=size[1], dark=dark)
            await opened.picture(tmp_path / f"{size[0]}-{'dark' if dark else 'light'}.png")
            await opened.picture(tmp_path / f"{size[0]}-{'dark' if dark else 'light'}-whole.png", whole=True)
            background = await opened.value("getComputedStyle(document.body).backgroundColor")
            return opened, await opened.value(_WORD), background

    opened, (left, top, right, bottom, width, height, scrolled), background = asyncio.run(look())
    assert opened.log.complaints == []
    assert [address for address in opened.log.requests if not address.startswith("data:")] == [page.as_uri()]
    assert 0 <= left < right <= width == size[0]
    assert 0 <= top < bottom <= height / 2
    assert scrolled == size[0], "the page itself must not scroll sideways"
    assert background == ("rgb(18, 22, 27)" if dark else "rgb(255, 255, 255)")
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_tables_are_sorted_by_the_keyboard_alone(page: Path, address: str) -> None:
    async def sort() -> list[object]:
        async with tab(address) as opened:
            await opened.open(page, width=DESK[0], height=DESK[1], dark=False)
            result = []
            for column, presses in ((2, 2), (0, 1)):
                await opened.value(f"document.querySelectorAll('section table th button')[{column}].focus()")
                for _ in range(presses):
                    await opened.key("Enter", 13)
                aria = (
                    "[...document.querySelectorAll('section table')[0].querySelectorAll('th')].map(th => th.ariaSort)"
                )
                result += [await opened.value(_COLUMN.format(column)), (await opened.value(aria))[column]]
            assert opened.log.complaints == []
            return result

    rmse, order, names, other = asyncio.run(sort())
    assert isinstance(rmse, list)
    assert isinstance(names, list)
    assert [float(text) for text in rmse] == sorted((float(text) for text in rmse), reverse=True)
    assert (order, other) == ("descending", "ascending")
    assert names == sorted(names) == ["Clip0", "Clip1", "Clip2", "Clip3"]


def test_a_foreign_script_does_not_run_and_is_reported(page: Path, address: str, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    planted = "<body><script>document.title = 'planted'</script><img src='https://example.invalid/x.png'>"
    other.write_text(page.read_text(encoding="utf-8").replace("<body>", planted), encoding="utf-8")

    async def look() -> tuple[list[str], str]:
        async with tab(address) as opened:
            await opened.open(other, width=DESK[0], height=DESK[1], dark=False)
            return opened.log.complaints, await opened.value("document.title")

    complaints, title = asyncio.run(look())
    assert len([line for line in complaints if "Content Security Policy" in line]) == 2
    assert title != "planted"
