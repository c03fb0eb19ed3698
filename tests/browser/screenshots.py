"""``make screenshots``: every page, on a telephone and on a desk, by day and by night, into var/screenshots.

With ``ARGS=best`` those of the README, into docs/pictures; the playground's is made by its test, with a real
answer.
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyotp
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.sales import UNTOUCHED
from tests.browser.sample import EMAIL, PASSWORD
from tests.browser.served import Served, served_site

FOLDER = Path("var/screenshots")
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
CHROMIUM = "/usr/bin/chromium"
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
FOR_ALL = (
    "/",
    "/models",
    "/terms",
    "/privacy",
    "/sign-up",
    "/sign-in",
    "/forgot",
    "/reset?link=x",
    "/confirm?link=x",
    "/contact",
    "/first?link=x",
    "/docs",
    "/status",
)
FOR_CUSTOMERS = (
    "/dashboard", "/playground", "/keys", "/credit", "/credit/buy/2500", f"/credit/refund?payment={UNTOUCHED}",
    f"/credit/paid?payment={UNTOUCHED}", "/plan", "/plan/choose/team", "/plan/cancel",
    "/documents", "/documents/1", "/billing", "/account", "/account/second-factor", "/account/delete",
    "/account/email?link=x", "/terms/accept", "/openid/end-session", "/nothing",
)  # fmt: skip
FOR_OPERATORS = (
    "/console", "/console/models", "/console/activity", "/console/customers", "/console/customers/3",
    "/console/customers/3/prices", "/console/customers/3/billing",
    f"/console/customers/3/billing/refund?payment={UNTOUCHED}", "/console/payments?show=refunds",
    "/console/payments?show=disputes", "/console/payments", "/console/webhooks",
    "/console/sales", "/console/documents/1",
    "/console/rates", "/console/inbox", "/console/review", "/console/audit",
)  # fmt: skip
PLAYGROUND = FOLDER / "playground-answer.png"
PICTURES = Path("docs/pictures")
BEST: tuple[tuple[str, str, Scheme], ...] = (
    ("/dashboard", "desktop", "light"), ("/dashboard", "phone", "dark"), ("/docs", "desktop", "light"),
    ("/console/models", "desktop", "dark"), ("/console/customers/3", "desktop", "light"),
    ("/plan", "desktop", "light"), ("/console/sales", "desktop", "light"),
)  # fmt: skip
OPERATOR_EMAIL = "op@example.com"


@contextmanager
def chromium() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        raise SystemExit(f"{CHROMIUM} is missing: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def sign_in(page: Page, site: Served) -> None:
    page.goto(f"{site.url}/sign-in")
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/dashboard")


def become_operator(page: Page, site: Served) -> None:
    """By the link of `up` the first time; after that by the password and the same authenticator."""
    if not site.authenticators:
        page.goto(site.first_link)
        for name, value in (("name", "Op"), ("email", OPERATOR_EMAIL), ("password", PASSWORD)):
            page.fill(f"#{name}", value)
        page.click("main button")
        site.authenticators.append(set_up_second_factor(page))
        page.wait_for_selector(".codes")
        site.recovery_codes.extend(page.locator(".codes code").all_inner_texts())
        return
    page.goto(f"{site.url}/sign-in")
    page.fill("#email", OPERATOR_EMAIL)
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.fill("[name=code]", site.recovery_codes.pop())
    page.click("main button:not([type=button])")
    page.wait_for_url("**/dashboard")


def set_up_second_factor(page: Page) -> pyotp.TOTP:
    """Ends on the page with the recovery codes."""
    page.fill("#password", PASSWORD)
    page.click("button:text-is('Set up')")
    totp = pyotp.TOTP(page.inner_text("code.long"))
    page.fill("#code", totp.now())
    page.click("main button")
    return totp


def main(wanted: Sequence[str]) -> int:
    """``wanted`` are paths; without any, all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with served_site() as site, chromium() as browser:
        if list(wanted) == ["best"]:
            return _shoot_best(browser, site)
        for size in SIZES:
            for scheme in SCHEMES:
                with _looking(browser, site, size, scheme) as context:
                    _shoot(context, site, f"{size}-{scheme}", wanted)
    sys.stdout.write(f"{len(list(FOLDER.glob('*.png')))} pictures are in {FOLDER}\n")
    return 0


@contextmanager
def _looking(browser: Browser, site: Served, size: str, scheme: Scheme) -> Iterator[BrowserContext]:
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=site.url
    )
    yield context
    context.close()


def _shoot_best(browser: Browser, site: Served) -> int:
    """What is seen of each without scrolling."""
    PICTURES.mkdir(exist_ok=True)
    for path, size, scheme in BEST:
        with _looking(browser, site, size, scheme) as context:
            page = context.new_page()
            if path in FOR_OPERATORS:
                become_operator(page, site)
            elif path in FOR_CUSTOMERS:
                sign_in(page, site)
            page.goto(path)
            page.screenshot(path=PICTURES / f"{_name(path)}-{size}.png")
    if PLAYGROUND.exists():
        shutil.copy(PLAYGROUND, PICTURES / "playground.png")
    return 0


def _name(path: str) -> str:
    return path.partition("?")[0].strip("/").replace("/", "-") or "front"


def _shoot(context: BrowserContext, site: Served, kind: str, wanted: Sequence[str]) -> None:
    page = context.new_page()

    def keep(name: str) -> None:
        page.screenshot(path=FOLDER / f"{name}-{kind}.png", full_page=True)

    for paths, enter in ((FOR_ALL, None), (FOR_CUSTOMERS, sign_in), (FOR_OPERATORS, become_operator)):
        if enter is not None:
            context.clear_cookies()
            enter(page, site)
        for path in paths:
            if not wanted or path in wanted:
                page.goto(path)
                keep(_name(path))
        if enter is sign_in and (not wanted or "/keys" in wanted):
            page.goto("/keys")
            page.fill("#name", "telephone")
            page.click("main .row button")
            keep("new-key")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
