"""The sandbox itself: a request in, an answer out, without I/O but for the file that it may be given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from appliance.stripe_sandbox.clock import Clock, MovableClock
from appliance.stripe_sandbox.due import do_all
from appliance.stripe_sandbox.endpoints import Endpoint, found
from appliance.stripe_sandbox.errors import (
    BadParameter,
    IdempotencyMismatch,
    InvalidRequest,
    KeyInUse,
    StripeError,
    TooManyRequests,
    Unauthorized,
)
from appliance.stripe_sandbox.form import parsed
from appliance.stripe_sandbox.hosted import Buyer, Step, answer_3ds, pay_invoice, pay_session
from appliance.stripe_sandbox.idempotency import Answers
from appliance.stripe_sandbox.params import read
from appliance.stripe_sandbox.rendering import expanded
from appliance.stripe_sandbox.settings import API_VERSION, DAY_SECONDS, SandboxSettings
from appliance.stripe_sandbox.state import Object, State
from appliance.stripe_sandbox.storage import Storage
from appliance.stripe_sandbox.webhooks import Delivery, Outbox
from appliance.stripe_sandbox.world import Cause, World

NO_KEY = (
    "You did not provide an API key. You need to provide your API key in the Authorization header, using "
    "Bearer auth."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """``lost`` means that the client must not get it, though it was carried out: a connection that broke."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False


@dataclass(slots=True)
class Trouble:
    """What the API does wrong with the next writes, as a network and a busy Stripe do."""

    refuse_next: int = 0
    """429, and nothing is carried out."""
    lose_next: int = 0
    """Carried out, but the answer does not arrive."""


class Sandbox:
    """One process at a time, one call at a time. Without a ``path`` it forgets all at its end."""

    def __init__(
        self,
        settings: SandboxSettings,
        *,
        clock: Clock = time.time,
        receivers_clock: Clock = time.time,
        path: Path | None = None,
    ) -> None:
        """``receivers_clock`` is that of whoever gets the webhooks, who refuses a signature of another time."""
        self.settings = settings
        self._storage = Storage(path) if path is not None else None
        self.state = self._storage.load() if self._storage is not None else State()
        self.clock = MovableClock(clock, self.state.values.get("ahead_seconds", 0.0))
        self._receivers_clock = receivers_clock
        if "began" not in self.state.values:
            self._begin()
        self.outbox = Outbox(self.state, settings)
        self._answers = Answers(self.state)
        self.world = World(self.state, settings, self._tell)
        self.world.now = self.state.values["began"]
        if not self.state.table("_job").rows:
            midnight = (self.world.now // DAY_SECONDS + 1) * DAY_SECONDS
            self.world.later(midnight, "payout", "")
        self.trouble = Trouble()
        self._requests = 0
        self._save()

    def request(self, method: str, target: str, headers: Mapping[str, str], body: str = "") -> Answer:
        """``target`` is a path with its query; the names in ``headers`` are in lower case. Never raises."""
        split = urlsplit(target)
        text = split.query if method != "POST" else body or split.query
        self._requests += 1
        told = {
            "content-type": "application/json",
            "request-id": f"req_{self.state.values['seed'][:8]}{self.clock.now():x}{self._requests:06x}",
            "stripe-version": headers.get("stripe-version", API_VERSION),
        }
        self.catch_up()
        try:
            answer = self._answer(method, split.path, text, headers, told)
        except StripeError as error:
            answer = Answer(error.status, msgspec.json.encode(error.body()), told)
        self.catch_up()
        return answer

    def pay_session(self, session: str, buyer: Buyer) -> Step:
        """On the page of Checkout. Raises InvalidRequest if there is none."""
        return self._on_a_page(lambda: pay_session(self.world, session, buyer))

    def answer_3ds(self, name: str, *, confirmed: bool) -> Step:
        """On the bank's page; ``name`` is an intent's or a session's. Raises InvalidRequest if there is none."""
        return self._on_a_page(lambda: answer_3ds(self.world, name, confirmed=confirmed))

    def pay_invoice(self, invoice: str, buyer: Buyer) -> Step:
        """On the page of an invoice. Raises InvalidRequest if there is none."""
        return self._on_a_page(lambda: pay_invoice(self.world, invoice, buyer))

    def control(self, act: Callable[[World], object]) -> None:
        """Something that the operator makes happen. Raises StripeError."""
        self.catch_up()
        self.world.cause = Cause()
        try:
            act(self.world)
        finally:
            self.catch_up()

    def catch_up(self) -> None:
        """Everything that is due by now, and all of it into the file."""
        if self.world.goal > self.clock.now():
            self.clock.move_to(self.world.goal)
            self.state.keep("ahead_seconds", self.clock.ahead_seconds)
        do_all(self.world, self.clock.now())
        self._save()

    def move_clock(self, instant: int) -> None:
        """To ``instant``, in seconds since 1970; what falls due on the way happens on the way. Never back."""
        self.world.move_to(instant)
        self.catch_up()

    def deliveries(self) -> list[Delivery]:
        """The webhooks that are to be sent now."""
        return self.outbox.due(self.clock.now(), int(self._receivers_clock()))

    def delivered(self, delivery: str, status: int) -> None:
        """What the receiver answered, 0 if nothing."""
        self.outbox.sent(delivery, status, self.clock.now())
        self._save()

    def close(self) -> None:
        if self._storage is not None:
            self._storage.close()

    def _begin(self) -> None:
        import secrets

        self.state.keep("began", self.clock.now())
        self.state.keep("seed", self.settings.seed or secrets.token_hex(16))

    def _tell(self, event: Object) -> int:
        return self.outbox.take(event, self.world.now)

    def _save(self) -> None:
        if self._storage is not None:
            self._storage.save(self.state)
        else:
            self.state.changed.clear()
            self.state.changed_values.clear()

    def _on_a_page(self, act: Callable[[], Step]) -> Step:
        self.catch_up()
        self.world.cause = Cause()
        try:
            return act()
        finally:
            self.catch_up()

    def _answer(
        self, method: str, path: str, text: str, headers: Mapping[str, str], told: dict[str, str]
    ) -> Answer:
        self._authenticate(headers.get("authorization", ""))
        version = headers.get("stripe-version", API_VERSION)
        if version != API_VERSION:
            raise InvalidRequest(f"The sandbox speaks Stripe's API version {API_VERSION} alone, not {version}.")
        way = found(method, path)
        if way is None:
            raise InvalidRequest(f"Unrecognized request URL ({method}: {path}).", status=404)
        if method == "GET":
            return Answer(200, self._carry_out(*way, text), told)
        if self.trouble.refuse_next > 0:
            self.trouble.refuse_next -= 1
            raise TooManyRequests
        lost = self.trouble.lose_next > 0
        self.trouble.lose_next -= lost
        key = headers.get("idempotency-key") if method == "POST" else None
        told |= {} if key is None else {"idempotency-key": key}
        self.world.cause = Cause(told["request-id"], key)
        answer = self._once(way, path, text, key, told)
        return Answer(answer.status, answer.body, answer.headers, lost) if lost else answer

    def _once(
        self, way: tuple[Endpoint, list[str]], path: str, text: str, key: str | None, told: dict[str, str]
    ) -> Answer:
        now = self.clock.now()
        before = self._answers.known(key, path, text, now) if key is not None else None
        if before is not None:
            replayed = {"idempotent-replayed": "true"}
            return Answer(before["status"], before["body"].encode(), told | replayed)
        try:
            answer = Answer(200, self._carry_out(*way, text), told)
        except (BadParameter, IdempotencyMismatch, KeyInUse):
            raise
        except StripeError as error:
            answer = Answer(error.status, msgspec.json.encode(error.body()), told)
        if key is not None:
            self._answers.keep(key, path, text, answer.status, answer.body, now)
        return answer

    def hold(self, key: str) -> None:
        """As if a request with this idempotency key were still on its way, until ``release``."""
        self._answers.in_flight.add(key)

    def release(self, key: str) -> None:
        self._answers.in_flight.discard(key)

    def _carry_out(self, endpoint: Endpoint, names: list[str], text: str) -> bytes:
        params = read(endpoint.schema, parsed(text))
        paths = params.pop("expand", [])
        row = endpoint.act(self.world, params, *names)
        shown = self._list(row, paths) if row["object"] == "list" else expanded(self.world, row, paths)
        return msgspec.json.encode(shown)

    def _list(self, row: Object, paths: list[str]) -> Object:
        wrong = next((path for path in paths if not path.startswith("data.")), None)
        if wrong is not None:
            raise InvalidRequest(f"This property cannot be expanded ({wrong}).", param="expand")
        inner = [path.removeprefix("data.") for path in paths]
        return {**row, "data": [expanded(self.world, one, inner) for one in row["data"]]}

    def _authenticate(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Unauthorized(NO_KEY)
        if key != self.settings.api_key:
            raise Unauthorized(f"Invalid API Key provided: {key[:8]}{'*' * 8}")
