"""No grammar keeps a compile thread of the engine for long: what might is tried before, elsewhere.

In the engine's process. What is small is compiled at once; the rest has its turn in ``serving.engine.trial``, one
tenant after another, unless the same grammar has passed before.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from serving.engine.trial import Trial

SMALL_BYTES = 4_000
COSTLY = re.compile(
    r"minLength|maxLength|[pP]attern|format|propertyNames|minItems|maxItems|minProperties|maxProperties"
    r"|\{\s*\d|~\s*\d|[*+]"
)
"""What a short text can cost much with: repetitions and lengths."""
MOST_PROVEN = 10_000

tenant_of_this_request: ContextVar[str] = ContextVar("tenant_of_this_request", default="")


class Turns:
    """One at a time; of those who wait, the tenant that had the fewest turns of late is next."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._had: Counter[str] = Counter()
        self._waiting: list[tuple[str, int]] = []
        self._number = 0
        self._busy = False

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        with self._condition:
            self._number += 1
            ticket = (tenant, self._number)
            self._waiting.append(ticket)
            self._condition.wait_for(lambda: not self._busy and self._next() == ticket)
            self._waiting.remove(ticket)
            self._busy = True
            self._had[tenant] += 1
        try:
            yield
        finally:
            with self._condition:
                self._busy = False
                if not self._waiting:
                    self._had.clear()
                self._condition.notify_all()

    def _next(self) -> tuple[str, int]:
        return min(self._waiting, key=lambda ticket: (self._had[ticket[0]], ticket[1]))


class BoundedCompiler:
    """xgrammar's GrammarCompiler, as far as vLLM calls it."""

    def __init__(self, compiler: Any, trial: Trial) -> None:
        self._compiler = compiler
        self._trial = trial
        self._turns = Turns()
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def compile_json_schema(self, *arguments: Any, **options: Any) -> Any:
        return self._compile("compile_json_schema", arguments, options)

    def compile_grammar(self, *arguments: Any, **options: Any) -> Any:
        return self._compile("compile_grammar", arguments, options)

    def compile_lark(self, *arguments: Any, **options: Any) -> Any:
        return self._compile("compile_lark", arguments, options)

    def compile_regex(self, *arguments: Any, **options: Any) -> Any:
        return self._compile("compile_regex", arguments, options)

    def compile_structural_tag(self, *arguments: Any, **options: Any) -> Any:
        return self._compile("compile_structural_tag", arguments, options)

    def _compile(self, method: str, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Raises what ``Trial.check`` does, or what xgrammar raises."""
        if not is_small(arguments):
            digest = hashlib.sha256(pickle.dumps((method, arguments, sorted(options.items())))).digest()
            if not self._is_proven(digest):
                with self._turns.taken(tenant_of_this_request.get()):
                    if not self._is_proven(digest):
                        self._trial.check(method, arguments, options)
                        self._prove(digest)
        return getattr(self._compiler, method)(*arguments, **options)

    def _is_proven(self, digest: bytes) -> bool:
        with self._lock:
            if digest not in self._proven:
                return False
            self._proven.move_to_end(digest)
            return True

    def _prove(self, digest: bytes) -> None:
        with self._lock:
            self._proven[digest] = None
            if len(self._proven) > MOST_PROVEN:
                self._proven.popitem(last=False)


def is_small(arguments: tuple[Any, ...]) -> bool:
    """Whether it is compiled without a trial: a short text, without what multiplies."""
    return all(
        isinstance(one, str) and len(one.encode(errors="surrogatepass")) <= SMALL_BYTES and not COSTLY.search(one)
        for one in arguments
    )


def install() -> None:
    """In the engine's process, before its first grammar. Threads that wait for a turn cost nothing: each sequence
    that the engine works on may have one."""
    from concurrent.futures import ThreadPoolExecutor

    from vllm.v1.structured_output import StructuredOutputManager
    from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

    make_backend, make_manager = XgrammarBackend.__post_init__, StructuredOutputManager.__init__
    create = StructuredOutputManager._create_grammar  # noqa: SLF001 - nothing public stands between

    def with_bounded_compiler(self: Any) -> None:
        make_backend(self)
        vocabulary = self.compiler.compile_builtin_json_grammar().tokenizer_info.serialize_json()
        self.compiler = BoundedCompiler(self.compiler, Trial(vocabulary))

    def with_a_thread_for_each(self: Any, vllm_config: Any) -> None:
        make_manager(self, vllm_config)
        if hasattr(self, "executor"):
            self.executor.shutdown(wait=False)
            self.executor = ThreadPoolExecutor(max_workers=vllm_config.scheduler_config.max_num_seqs)

    def for_its_tenant(self: Any, request: Any) -> Any:
        mark = tenant_of_this_request.set(request.cache_salt or "")
        try:
            return create(self, request)
        finally:
            tenant_of_this_request.reset(mark)

    XgrammarBackend.__post_init__ = with_bounded_compiler
    StructuredOutputManager.__init__ = with_a_thread_for_each
    StructuredOutputManager._create_grammar = for_its_tenant  # noqa: SLF001
