"""Every route that vLLM's app can have, whatever the model and the mode, one a line. Run as a program."""

from __future__ import annotations

import os
import sys
import typing
from unittest.mock import MagicMock

os.environ |= {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

from fastapi import FastAPI
from vllm import tasks
from vllm.entrypoints.launchers.api_server.routers import register_api_routers
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser


def routes() -> set[str]:
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(
        ["--model", "m", "--enable-tokenizer-info-endpoint"]
    )
    arguments.enable_fault_tolerance = True
    generating, pooled = typing.get_args(tasks.GenerationTask), typing.get_args(tasks.PoolingTask)
    every_task = (*generating, *pooled, "realtime", "render")
    found: set[str] = set()
    for pooling in ("embed", "classify", "token_embed"):
        app = FastAPI(openapi_url=None)
        app.state.args = arguments
        model = MagicMock()
        model.get_pooling_task.return_value = pooling
        model.hf_config.num_labels = 1
        register_api_routers(arguments, app, every_task, model)
        found |= {route.path for route in app.routes if hasattr(route, "path")}
    return found


if __name__ == "__main__":
    for path in sorted(routes()):
        sys.stdout.write(path + "\n")
