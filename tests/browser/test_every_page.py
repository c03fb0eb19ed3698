"""Every page: usable by everybody (axe-core), small, and without an error in the browser's console."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response

from tests.browser.screenshots import FOR_ALL, FOR_CUSTOMERS, FOR_OPERATORS, become_operator, sign_in
from tests.browser.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
MOST_BYTES = 200_000
SERIOUS = ("serious", "critical")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_can_be_used_by_everybody_and_is_small(
    browser: Browser, served: Served, scheme: Literal["light", "dark"], width: int
) -> None:
    for paths, enter in ((FOR_ALL, None), (FOR_CUSTOMERS, sign_in), (FOR_OPERATORS, become_operator)):
        context = browser.new_context(
            base_url=served.url, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
        )
        page = context.new_page()
        if enter is not None:
            enter(page, served)
        for path in paths:
            visit(page, path)
        context.close()


def visit(page: Page, path: str) -> None:
    sizes: list[int] = []
    problems: list[str] = []

    def weigh(response: Response) -> None:
        sizes.append(len(response.body()))

    page.on("response", weigh)
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path)
    page.wait_for_load_state("networkidle")
    page.remove_listener("response", weigh)
    assert sum(sizes) < MOST_BYTES, path
    assert not [problem for problem in problems if "404" not in problem], (path, problems)
    found = Axe().run(page).response["violations"]
    faults = [(fault["id"], fault["nodes"][0]["html"]) for fault in found if fault["impact"] in SERIOUS]
    assert not faults, (path, faults)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than the screen"
