"""How the gateway finds a replica and speaks to it.

The process ``serving`` publishes the directory (docs/architecture.md); nobody who imports this needs Ray.
"""

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
from aiohappyeyeballs import AddrInfoType

from serving.client.affinity import choose
from serving.client.published import REREAD_SECONDS, Directory, Replica
from serving.metering.meter import SEEN, Meter, decisive

CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 900.0
METER_TIMEOUT_SECONDS = 5.0
COUNT_TIMEOUT_SECONDS = 30.0
HANDOVER_SECONDS = 10.0
"""How long a request waits for another replica when the one it was sent to has just ended."""
MOST_ATTEMPTS = 3
MACHINE_IS_GONE = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 25_000,
}
"""A connection breaks when its other end has not acknowledged anything for 25 s."""
PLAIN = {"accept-encoding": "identity"}

HEADER_SECRET = "x-cluster-secret"  # noqa: S105 -- a header's name
HEADER_REQUEST = "x-appliance-request"
HEADER_PROMPT_LIMIT = "x-appliance-prompt-limit"
HEADER_COMPLETION_LIMIT = "x-appliance-completion-limit"
HEADER_SEQUENCES = "x-appliance-sequences"
HEADER_IMAGES = "x-appliance-images"
HEADER_AUDIO_SECONDS = "x-appliance-audio-seconds"
HEADER_MODEL = "x-appliance-model"
HEADER_SALT = "x-appliance-salt"
HEADER_PRIORITY = "x-appliance-priority"
HEADER_PATH = "x-appliance-path"
HEADER_METER = "x-appliance-meter"
HEADER_REFUSED = "x-appliance-refused"
WITHOUT_SUCCESSOR = ("queue", "partner", "failed")
"""Refusals and failures of replicas that go on: nobody will take their place."""


class ReplicaUnreachable(Exception):
    """The connection failed, or broke before an answer began: another replica may be tried.

    ``refused``: its machine says that nothing listens on the port. ``process_is_gone`` is certain: it is
    this machine besides.
    """

    def __init__(self, replica: str, *, refused: bool = False, process_is_gone: bool = False) -> None:
        super().__init__(replica)
        self.refused = refused
        self.process_is_gone = process_is_gone


class NoReplica(Exception):
    """None was there, or none took the request."""


class EngineClient:
    """One connection pool to all replicas. To be created in a running event loop, and closed."""

    def __init__(self, directory: Directory, cluster_secret: str) -> None:
        self.directory = directory
        self._in_flight: Counter[str] = Counter()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0, socket_factory=_watched_socket),
            headers={HEADER_SECRET: cluster_secret, "content-type": "application/json"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=READ_TIMEOUT_SECONDS
            ),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    def pick(self, model: str, path: str, tried: Sequence[Replica] = (), session: bytes = b"") -> Replica | None:
        """Of the model's own replicas if there is one, else of the first fallback's that has one."""
        attempts, gone = Counter(replica.model for replica in tried), {replica.id for replica in tried}
        for view in self.directory.in_order(model, path):
            able = [replica for replica in view.replicas if not replica.draining and replica.id not in gone]
            if able and attempts[able[0].model] < MOST_ATTEMPTS:
                return choose(able, self._in_flight, session)
        return None

    @asynccontextmanager
    async def reach(
        self,
        model: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        tried: list[Replica],
        session: bytes = b"",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of a replica that took the request, its body still to be read; leaving early hangs up.

        Another replica is tried if one is away, full or broken, as long as there is nothing of an answer;
        ``tried`` tells the caller which, in order. ``session`` is the same for requests that begin alike.
        Raises NoReplica.
        """
        full = False
        while True:
            replica = self.pick(model, path, tried, session)
            if replica is None and not full and len(tried) < MOST_ATTEMPTS:
                replica = await self._successor(model, path, tried)
            if replica is None:
                break
            tried.append(replica)
            self._in_flight[replica.id] += 1
            try:
                try:
                    response = await self._session.post(
                        replica.endpoint + path, data=addressed(body, model, replica), headers=headers
                    )
                except (aiohttp.ClientError, OSError):
                    continue
                try:
                    if response.status >= 500:
                        refused = response.headers.get(HEADER_REFUSED)
                        full = full or (replica.model == model and refused in WITHOUT_SUCCESSOR)
                        continue
                    yield response
                finally:
                    if response.connection is not None:
                        response.close()
                return
            finally:
                self._done(replica)
        raise NoReplica(model)

    async def _successor(self, model: str, path: str, tried: Sequence[Replica]) -> Replica | None:
        """Who takes the place of those that are away; they may have been replaced since the directory was read."""
        for _ in range(round(HANDOVER_SECONDS / REREAD_SECONDS)):
            await asyncio.sleep(REREAD_SECONDS)
            if (replica := self.pick(model, path, tried)) is not None:
                return replica
        return None

    def _done(self, replica: Replica) -> None:
        self._in_flight[replica.id] -= 1
        if not self._in_flight[replica.id]:
            del self._in_flight[replica.id]

    async def count(self, replica: Replica, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        """Status and body of the replica's exact count of what the request asks. Raises ReplicaUnreachable."""
        timeout = aiohttp.ClientTimeout(total=COUNT_TIMEOUT_SECONDS)
        url, headers = f"{replica.endpoint}/count", {HEADER_PATH: path, "content-type": content_type}
        try:
            async with self._session.post(url, data=body, headers=headers, timeout=timeout) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ReplicaUnreachable(replica.id) from error

    async def meter(self, endpoint: str, request_id: str, wait_seconds: float = 0.0) -> Meter | None:
        """What the replica at ``endpoint`` counted; None if it does not know the request.

        Waits up to ``wait_seconds`` for the request to end. Raises ReplicaUnreachable.
        """
        url = f"{endpoint}/meter/{request_id}?wait={wait_seconds}"
        timeout = aiohttp.ClientTimeout(total=METER_TIMEOUT_SECONDS + wait_seconds)
        try:
            async with self._session.get(url, timeout=timeout) as response:
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise ReplicaUnreachable(endpoint)
                return parse_meter(await response.read())
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            gone = refused and _is_loopback(error.host)
            raise ReplicaUnreachable(endpoint, refused=refused, process_is_gone=gone) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ReplicaUnreachable(endpoint) from error

    async def left_by(self, gone: Replica, request_id: str, delivered_bytes: int) -> Meter | None:
        """What a replica that was killed on another node left of the request; a replica beside it has to say.

        None if there is none, or none that can say. Nobody waits for one to come: by then the worker may have
        settled the request as lost, and what is noted in a journal after that is a difference in the books.
        """
        query = urlencode({"replica": gone.id, "delivered": delivered_bytes})
        timeout = aiohttp.ClientTimeout(total=METER_TIMEOUT_SECONDS)
        replicas = {replica for view in self.directory.models().values() for replica in view.replicas}
        for beside in replicas:
            if beside.node != gone.node or beside.id == gone.id:
                continue
            url = f"{beside.endpoint}/left/{request_id}?{query}"
            try:
                async with self._session.get(url, timeout=timeout) as response:
                    if response.status == 200:
                        return parse_meter(await response.read())
            except (aiohttp.ClientError, OSError, ValueError):
                continue
        return None

    async def find_meter(self, model: str, request_id: str) -> Meter | None:
        """The meter of the request's attempt that counts, as ``decisive`` has it; None if no replica knows it.

        Raises ReplicaUnreachable if that cannot be said: there is no replica, or one that does not answer might
        know of an attempt that counts more.
        """
        views = self.directory.in_order(model)
        replicas = {replica for view in views for replica in view.replicas}
        answers = await self._meters(replicas, request_id)
        meter = decisive(answer for answer in answers if isinstance(answer, Meter))
        if meter is None:  # or whoever was a fallback when the request came
            others = {replica for view in self.directory.models().values() for replica in view.replicas}
            answers += await self._meters(others - replicas, request_id)
            meter = decisive(answer for answer in answers if isinstance(answer, Meter))
        if meter is None or meter.ended not in (None, *SEEN):
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
            if not views or not all(view.replicas for view in views):
                raise ReplicaUnreachable(model)
        return meter

    async def _meters(self, replicas: Collection[Replica], request_id: str) -> list[Meter | BaseException | None]:
        asked = (self.meter(replica.endpoint, request_id) for replica in replicas)
        return await asyncio.gather(*asked, return_exceptions=True)

    async def metrics(self, endpoint: str) -> bytes:
        """In Prometheus's text format, of a replica or of a node of Ray. Raises ReplicaUnreachable."""
        timeout = aiohttp.ClientTimeout(total=METER_TIMEOUT_SECONDS)
        try:
            async with self._session.get(f"{endpoint}/metrics", headers=PLAIN, timeout=timeout) as response:
                if response.status != 200:
                    raise ReplicaUnreachable(endpoint)
                return await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ReplicaUnreachable(endpoint) from error

    async def is_healthy(self, replica: Replica) -> bool:
        timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_SECONDS)
        try:
            async with self._session.get(f"{replica.endpoint}/health", timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False


def addressed(body: bytes, model: str, replica: Replica) -> bytes:
    """The body, untouched; for a fallback with its own name for what is asked for."""
    if replica.model == model:
        return body
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UnicodeDecodeError:
        return body  # the replica says what is wrong with it
    return msgspec.json.encode({**fields, "model": replica.model})


def _watched_socket(address: AddrInfoType) -> socket.socket:
    """Breaks when the other machine is gone, which nobody tells whoever waits for a long answer to begin."""
    family, kind, protocol = address[:3]
    watched = socket.socket(family, kind, protocol)
    watched.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in MACHINE_IS_GONE.items():
        watched.setsockopt(socket.IPPROTO_TCP, option, value)
    return watched


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_meter(text: str | bytes) -> Meter:
    """A meter as a replica wrote it. Raises ValueError."""
    return msgspec.convert({"request_id": "", **msgspec.json.decode(text, type=dict[str, Any])}, Meter)
