"""What the documentation names is there, and what is there it names."""

import ast
import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from typer import Context
from typer.main import get_group

from appliance.cli import app
from appliance.gateway.metrics import DirectoryMetrics, GatewayMetrics
from appliance.web.metrics import SiteMetrics
from appliance.worker.metrics import WorkerMetrics
from serving.client.published import Directory
from serving.partner.metrics import PartnerMetrics

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
OPERATIONS = "\n".join(page.read_text() for page in ROOT.glob("docs/operations/*.md"))


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    registry = CollectorRegistry()
    GatewayMetrics(registry)
    SiteMetrics(registry)
    WorkerMetrics(registry)
    PartnerMetrics(registry)
    registry.register(DirectoryMetrics(Directory(ROOT / "nobody published it")))
    exist = {metric.name + ("_total" if metric.type == "counter" else "") for metric in registry.collect()}
    assert set(re.findall(r"`(appliance_\w+)`", OPERATIONS)) == exist


def test_every_command_that_the_readme_shows_exists() -> None:
    commands = set(get_group(app).list_commands(Context(get_group(app))))
    shown = set(re.findall(r"\bappliance ([a-z]+)", (ROOT / "README.md").read_text()))
    assert shown <= commands
    assert shown


def test_every_file_that_the_documentation_links_or_names_exists() -> None:
    for page in PAGES:
        for link, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text()):
            target = (page.parent / link) if link else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}#{anchor}"
        for name in re.findall(r"`((?:appliance|billing|serving|tests|configs)/[\w/]+\.\w+)", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_no_page_of_operations_is_longer_than_a_few_screens() -> None:
    for page in ROOT.glob("docs/operations/*.md"):
        assert len(page.read_text().splitlines()) < 120, page.name


def test_every_page_is_linked_from_another_one() -> None:
    linked = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+\.md)", page.read_text())
        if (page.parent / link).resolve() != page
    }
    assert [page for page in PAGES if page not in linked and page != ROOT / "README.md"] == []


def anchors(page: Path) -> set[str]:
    """Where a link may lead in a page: its headings, as browsers of repositories name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_function_that_the_documentation_names_with_its_file_is_defined_there() -> None:
    named = {
        (path, name)
        for page in ROOT.glob("docs/**/*.md")
        for path, names in re.findall(
            r"`((?:appliance|billing|serving)/[\w/]+\.py)`:\s((?:`[\w.]+`(?:, | or )?)+)", page.read_text()
        )
        for name in re.findall(r"`([\w.]+)`", names)
    }
    assert len(named) > 20
    assert {(path, name) for path, name in named if name not in defined_in(path)} == set()


def defined_in(path: str) -> set[str]:
    """Functions and classes of a file, and methods as ``Class.method``."""
    top = ast.parse((ROOT / path).read_text()).body
    classes = [node for node in top if isinstance(node, ast.ClassDef)]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in top if isinstance(node, (*functions, ast.ClassDef))} | {
        f"{one.name}.{node.name}" for one in classes for node in one.body if isinstance(node, functions)
    }
