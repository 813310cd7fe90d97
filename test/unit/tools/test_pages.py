"""The pages in a browser, Debian's chromium: they sort, filter, fit a phone and follow its colours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from espalier.sparse_dialect.schedule.database import Trial
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.tools.blocksize import Curve, Point, Size, curve_page
from espalier.tools.report.data import Report
from espalier.tools.report.page import report_page
from espalier.tools.training import training_page
from espalier.tools.tune.page import search_page
from support.fake_compiler import FakeModel, fake_layer

LIBRARY = {"kernel": [3, 3], "patterns": [[0, 1, 3, 4], [1, 4, 5, 7]]}
LOG = """\
epoch,phase,loss,metric,residual,learning_rate,seconds,frequencies
1,regularise,2.0,50.0,0.4,0.05,1.0,"[[5, 1]]"
2,retrain,0.5,70.0,,0.05,1.0,"[[7, 8]]"
"""


@dataclass(frozen=True)
class Pruned:
    name: str
    scheme: str
    asked: float
    rate: float


def report() -> str:
    layers = (fake_layer("stem", macs_packed=9_000, macs_dense=10**7, library=LIBRARY),
              fake_layer("body", macs_packed=1_000_000, macs_dense=10**7, predicted_ms=None),
              fake_layer("head", "linear", macs_packed=20, macs_dense=10**7, scheme="bcr"))
    return report_page(Report.of("net", FakeModel(layers=layers), [3.0, 20.0, 1.0], machine="a machine",
                                 threads=1, runs=3))


def pages(folder: Path) -> dict[str, str]:
    (folder / "log.csv").write_text(LOG)
    libraries = [SimpleNamespace(kernel=(3, 3), patterns=((0, 1, 3, 4), (1, 4, 5, 7))),
                 SimpleNamespace(kernel=(3, 3, 3), patterns=((0, 13, 26),))]
    rows = [Pruned(f"features.{at}", "pattern", 8.0, 8.0 + at) for at in (9, 10)]
    trials = [Trial(layer, Schedule(), "ok", ratio) for layer, ratio in (("a", 0.9), ("b", 0.5))]
    points = tuple(Point(Size(size, 16), ms) for size, ms in ((1, 9.0), (4, 1.5), (16, 1.4)))
    return {"report": report(), "pruning": training_page("net", folder / "log.csv", rows, libraries),
            "tuning": search_page("net", trials, ["a", "b"]),
            "blocksize": curve_page(Curve("net", 8, 0.1, True, points))}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium and chromium-driver are missing")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    found.execute_cdp_cmd("Network.enable", {})
    found.execute_cdp_cmd("Network.emulateNetworkConditions",
                          {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0})
    yield found
    found.quit()


def column(browser: Any, at: int = 0) -> list[str]:
    """What the rows that are seen of the first table say in a column."""
    return list(browser.execute_script(
        "return [...document.querySelector('table.sortable').tBodies[0].rows].filter(r => r.offsetHeight)"
        ".map(r => r.cells[arguments[0]].firstChild.textContent.trim())", at))


def click(browser: Any, head: str) -> None:
    found = browser.find_element("xpath", f"//table[contains(@class,'sortable')]//th[text()='{head}']")
    found.click()


@pytest.mark.slow
def test_pages(browser: Any, tmp_path: Path) -> None:
    """One session for all: each page on a phone, light and dark, then what its table does."""
    for name, text in pages(tmp_path).items():
        (tmp_path / f"{name}.html").write_text(text)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True})
        paper = []
        for scheme in ("light", "dark"):
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme", "value": scheme}]})
            browser.get(f"file://{tmp_path}/{name}.html")
            wide, ink, ground = browser.execute_script(
                "const s = getComputedStyle(document.body);"
                "return [document.documentElement.scrollWidth, s.color, s.backgroundColor]")
            assert wide <= 390, (name, wide)
            paper.append((ink, ground))
        assert paper[0] == ("rgb(29, 36, 32)", "rgb(255, 255, 255)"), name
        assert paper[1] == ("rgb(230, 236, 232)", "rgb(22, 27, 24)"), name
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        CHECKS[name](browser)
        assert browser.get_log("browser") == [], name


def check_report(browser: Any) -> None:
    assert column(browser) == ["stem", "body", "head"]
    click(browser, "MACs")  # by number: as texts, 1 M is less than 9 k
    assert column(browser) == ["head", "stem", "body"]
    click(browser, "MACs")
    assert column(browser) == ["body", "stem", "head"]
    click(browser, "predicted ms")  # what has none is last
    assert column(browser)[-1] == "body"
    field = browser.find_element("css selector", "input[type=search]")
    field.send_keys("bcr lin")
    assert column(browser) == ["head"]
    assert "1 of 3" in browser.find_element("css selector", ".filter").text
    field.clear()
    field.send_keys(" ")
    assert len(column(browser)) == 3
    drawn = browser.find_elements("css selector", ".pattern")
    assert [one.get_attribute("aria-label") for one in drawn] == ["places 0 1 3 4 of 3x3",
                                                                  "places 1 4 5 7 of 3x3"]
    assert all(one.size["width"] > 10 and one.size["height"] > 10 for one in drawn)


def check_pruning(browser: Any) -> None:
    click(browser, "layer")  # features.9 before features.10
    assert column(browser) == ["features.9", "features.10"]
    click(browser, "rate")
    click(browser, "rate")
    assert column(browser, 3) == ["18.00", "17.00"]
    assert len(browser.find_elements("css selector", ".pattern")) == 3
    flat, deep = (browser.find_elements("css selector", ".pattern")[at].size for at in (0, 2))
    assert deep["width"] > 3 * flat["width"]  # three slices
    assert deep["height"] == pytest.approx(flat["height"], abs=1)


def check_tuning(browser: Any) -> None:
    click(browser, "best")
    assert column(browser) == ["b", "a"]
    browser.find_element("css selector", "input[type=search]").send_keys("0.900")
    seen = [section.is_displayed() for section in browser.find_elements("css selector", "section")]
    assert seen == [True, False]


def check_blocksize(browser: Any) -> None:
    click(browser, "ms")
    assert column(browser) == ["16x16", "4x16", "1x16"]


CHECKS = {"report": check_report, "pruning": check_pruning, "tuning": check_tuning,
          "blocksize": check_blocksize}
