"""``appliance models``: what runs, what models.yaml would change, and making it so."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import psutil
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.bootstrap import declared_prices
from appliance.commands.account import AsJson
from appliance.commands.session import fail, print_json, print_table, settings, settings_of_first_node, transact
from appliance.settings import Settings
from appliance.supervisor.screen import Screen, Step
from billing.clock import system_clock
from billing.prices.rates import first_rates
from serving.catalog.declared import Declared, declare
from serving.catalog.models import Model, partners_of
from serving.partner import keys
from serving.placement.fit import GIB, Shape, cpu_bytes, shape_of
from serving.placement.gpus import local_gpus
from serving.placement.plan import Change, Gpu, Placement, changes, memory_problems, place
from serving.weights.prepare import PrepareError, ready_directory

app = typer.Typer(help="Plan and apply configs/models.yaml, and see what runs.", no_args_is_help=True)

FRESH_SECONDS = 10.0
LOOK_SECONDS = 0.5
SIGNS = {"add": "+", "remove": "-", "replace": "~", "scale": "*", "keep": " "}
WhatIf = Annotated[
    str | None,
    typer.Option("--gpus", help="Plan for GPUs that are not here: 8x80 are eight of 80 GiB on one node."),
]


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """Every model: whether it answers, with how many replicas, and what they do."""
    document = _directory(settings())
    if document is None:
        raise fail("the system is not running: `make up`")
    rows = [_running(name, entry) for name, entry in document["models"].items()]
    if as_json:
        print_json(rows)
    else:
        titles = ("model", "state", "replicas", "wanted", "running", "waiting", "message")
        print_table({name: name.upper() for name in titles}, rows)


@app.command()
def plan(gpus: WhatIf = None, as_json: AsJson = False) -> None:
    """What applying models.yaml would change, and whether it fits; exit status 1 if it does not."""
    chosen = settings()
    found, placement = _plan(chosen, gpus)
    if as_json:
        print_json(_document(found, placement))
    else:
        _show(chosen, found, placement)
    raise typer.Exit(1 if placement.problems else 0)


@app.command()
def apply(
    force: Annotated[bool, typer.Option(help="Even if it does not seem to fit.")] = False,
) -> None:
    """Make the running system what models.yaml says, without dropping an answer."""
    chosen = settings_of_first_node()
    if _directory(chosen) is None:
        raise fail("the system is not running: `make up` starts it as models.yaml says")
    found, placement = _plan(chosen, None)
    _show(chosen, found, placement)
    if placement.problems and not force:
        raise fail("nothing was changed: it does not fit (--force tries all the same)")

    async def give_rates(connection: AsyncConnection) -> list[str]:
        return (await first_rates(connection, declared_prices(chosen.models), system_clock))[1]

    try:
        keys.keep(chosen.home, chosen.models, chosen.partner_keys)
    except keys.KeyMissing as missing:
        raise fail(f"nothing was changed: {missing}") from None
    for model in transact(give_rates):
        typer.echo(f"{model} costs something else than models.yaml says; `appliance rate` changes what it costs")
    declare(chosen.declared, chosen.models)
    keys.forget_others(chosen.home, chosen.models)
    if failed := _follow(chosen):
        raise fail(f"{', '.join(failed)}: not as it was asked for; what ran before goes on")


def _plan(chosen: Settings, what_if: str | None) -> tuple[list[Change], Placement]:
    before = Declared(chosen.declared).models().values() if _directory(chosen) is not None else ()
    nodes = _nodes(chosen) if what_if is None else _imagined(what_if)
    total = sum(len(node["gpus"]) for node in nodes)
    models = [(model, _shape(chosen, model), model.gpus_of_each_replica(total)) for model in chosen.models]
    placement = place(models, nodes)
    placement.problems.extend(memory_problems(models, psutil.virtual_memory().total))
    return changes(tuple(before), chosen.models), placement


def _shape(chosen: Settings, model: Model) -> Shape | None:
    if model.partner is not None:
        return None
    try:
        directory = ready_directory(model.source, model.id, chosen.home / "models")
    except PrepareError as error:
        raise fail(str(error)) from None
    return None if directory is None or model.base is not None else shape_of(model, directory)


def _directory(chosen: Settings) -> dict[str, Any] | None:
    """What the running system publishes; None if none runs."""
    try:
        document: dict[str, Any] = json.loads(chosen.directory.read_bytes())
    except (OSError, ValueError):
        return None
    return document if time.time() - document["published_at"] < FRESH_SECONDS else None


def _nodes(chosen: Settings) -> Sequence[Mapping[str, Any]]:
    document = _directory(chosen)
    published: list[dict[str, Any]] = [] if document is None else document.get("nodes", [])
    return published or [{"address": "this machine", "gpus": local_gpus()}]


def _imagined(text: str) -> Sequence[Mapping[str, Any]]:
    count, separator, gib = text.partition("x")
    if not separator or not count.isdigit() or not gib.isdigit():
        raise fail(f"--gpus: expected something like 8x80, not {text!r}")
    return [{"address": "imagined", "gpus": [{"name": f"{gib} GiB", "memory_bytes": int(gib) * GIB}] * int(count)}]


def _show(chosen: Settings, found: Sequence[Change], placement: Placement) -> None:
    for change in found:
        details = f": {'; '.join(change.details)}" if change.details else ""
        typer.echo(
            f"{SIGNS[change.kind]} {change.model} {'as it is' if change.kind == 'keep' else change.kind}{details}"
        )
    typer.echo("")
    if placement.gpus:
        titles = ("node", "gpu", "memory", "model", "weights", "cache", "tokens", "contexts")
        context = {model.id: model.context_length for model in chosen.models}
        print_table(
            {name: name.upper() for name in titles}, [row for gpu in placement.gpus for row in _rows(gpu, context)]
        )
    else:
        _show_memory(chosen)
    for model in chosen.models:
        if model.partner is not None:
            typer.echo(f"{model.id} is served by {model.partner.name}: what is sent to it leaves the house")
        elif partners := partners_of(model, {other.id: other for other in chosen.models}):
            names = ", ".join(partner["name"] for partner in partners)
            typer.echo(f"{model.id} falls back on {names}: what is sent to it may leave the house")
    for problem in placement.problems:
        typer.echo(f"! {problem}")


def _rows(gpu: Gpu, context: Mapping[str, int]) -> list[dict[str, Any]]:
    head = {"node": gpu.node, "gpu": gpu.number, "memory": _gib(gpu.memory_bytes)}
    empty = dict.fromkeys(("model", "weights", "cache", "tokens", "contexts"))
    rows: list[dict[str, Any]] = []
    for replica in gpu.replicas:
        row = {**head, **empty, "model": replica.model}
        if (fit := replica.fit) is not None:
            row |= {"weights": _gib(fit.weights_bytes), "cache": _gib(fit.cache_bytes), "tokens": fit.cache_tokens}
            row["contexts"] = fit.cache_tokens // context[replica.model]
        rows.append(row)
    return rows or [{**head, **empty}]


def _show_memory(chosen: Settings) -> None:
    rows = []
    for model in chosen.models:
        if model.base is None and model.partner is None:
            shape = _shape(chosen, model)
            needs = None if shape is None else _gib(cpu_bytes(model, shape))
            rows.append(
                {
                    "model": model.id, "replicas": model.replicas.most, "memory": needs,
                    "weights": None if shape is None else _gib(shape.weights_bytes),
                    "cache": f"{model.kv_cache_gib} GiB",
                }
            )  # fmt: skip
    titles = ("model", "replicas", "weights", "cache", "memory")
    print_table({name: name.upper() for name in titles}, rows)
    typer.echo(f"No GPU. This machine has {_gib(psutil.virtual_memory().total)}.")


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def _document(found: Sequence[Change], placement: Placement) -> dict[str, Any]:
    return {
        "changes": [
            {"model": change.model, "change": change.kind, "details": list(change.details)} for change in found
        ],
        "gpus": [
            {
                "node": gpu.node, "gpu": gpu.number, "memory_bytes": gpu.memory_bytes,
                "models": [replica.model for replica in gpu.replicas],
            }
            for gpu in placement.gpus
        ],
        "problems": placement.problems,
    }  # fmt: skip


def _running(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": name,
        "state": entry["state"],
        "replicas": sum(not replica["draining"] for replica in entry["replicas"]),
        "wanted": entry["wanted"],
        "running": sum(replica["running"] for replica in entry["replicas"]),
        "waiting": sum(replica["waiting"] for replica in entry["replicas"]),
        "message": entry["message"] or next((one["trouble"] for one in entry["replicas"] if one["trouble"]), ""),
    }


def _follow(chosen: Settings) -> list[str]:
    """Shows each model on its way until all are as they were asked for; those that will not be."""
    declared = Declared(chosen.declared)
    declared.models()
    screen, steps, failed = Screen(), dict[str, Step](), set[str]()
    while True:
        time.sleep(LOOK_SECONDS)
        document = _directory(chosen) or {}
        if document.get("revision") != declared.revision:
            continue
        models = document["models"]
        for name, entry in models.items():
            _tell(screen, steps, failed, name, entry)
        for name in steps.keys() - models.keys():
            steps.pop(name).done(f"{name} removed")
        screen.refresh()
        if all(entry["settled"] or name in failed for name, entry in models.items()):
            return sorted(failed)


def _tell(screen: Screen, steps: dict[str, Step], failed: set[str], name: str, entry: Mapping[str, Any]) -> None:
    if entry["settled"]:
        if name in steps:
            steps.pop(name).done(f"{name} {entry['state']}, {entry['ready']} of {entry['wanted']} replicas")
    elif entry["failed"]:
        failed.add(name)
        steps.pop(name, screen.step("model", name)).done(f"{name}: {entry['message']}")
    else:
        step = steps.get(name) or steps.setdefault(name, screen.step("model", name))
        step.update(f"{name} {entry['ready']} of {entry['wanted']} new {entry['message']}")
