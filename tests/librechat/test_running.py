"""LibreChat as a process: the right release or none, told only what it needs, by TLS, with a log without people.

Here a program of a few lines stands where LibreChat's server does.
"""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from appliance import secrets
from appliance.librechat import RELEASE
from appliance.librechat.configuration import Chosen, Offered, configuration
from appliance.librechat.environment import environment
from appliance.librechat.running.certificate import LASTS, RENEWED_BEFORE, kept
from appliance.librechat.running.front import Front, context_of
from appliance.librechat.running.journal import Journal
from appliance.librechat.running.process import DISCOVERY, LibreChat, Tls, run
from appliance.librechat.running.release import BUILT, SERVER, ReleaseError, check
from appliance.librechat.running.start import NODE, TOOLS, StartRefused, librechat_of
from appliance.settings import Settings, SettingsError, load_settings
from appliance.supervisor import census, keeper, launch
from appliance.supervisor.chat import librechat_part, mongo_part, open_chat
from appliance.supervisor.keeper import Part
from appliance.supervisor.launch import Listeners, System, up
from appliance.supervisor.screen import Screen
from appliance.supervisor.system import base_environment, plan_ray
from appliance.supervisor.welcome import welcome
from billing.prices.rates import Prices
from serving.client.published import Directory

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SUBJECT = "0d9b4f0e-6a1c-4f57-9d3b-2f6f3c1f7a10"
SERVES = """
import json, os, signal, sys
def say(level, message): print(json.dumps({"timestamp": "now", "level": level, "message": message}), flush=True)
say("info", "Custom config file loaded")
say("warn", "[start] no RAG here")
open(os.environ["TOLD"], "w").write(json.dumps(dict(os.environ)))
say("info", "Server listening at http://127.0.0.1")
say("info", "[openidStrategy] login success openidId: 1 | email: ada@example.com")
say("error", "[api/server/client.js #send] Unhandled error type 402 what ada wrote")
print("Error: what ada wrote", flush=True)
signal.pause()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A LibreChat's folder, built."""
    folder = tmp_path / "source"
    for path in BUILT:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    (folder / SERVER).write_text(SERVES)
    (folder / "package.json").write_text(json.dumps({"name": "LibreChat", "version": RELEASE}))
    return folder


def given(tmp_path: Path, source: Path, **more: str) -> dict[str, str]:
    return {"APPLIANCE_HOME": str(tmp_path / "home"), "CHAT": "1", "LIBRECHAT_SOURCE": str(source), **more}


class TestWhichLibreChat:
    def test_the_release_that_is_meant_is_taken(self, source: Path) -> None:
        check(source)

    @pytest.mark.parametrize("lacks", [*BUILT, Path("package.json")], ids=str)
    def test_one_that_is_not_built_is_refused_with_where_to_get_it(self, source: Path, lacks: Path) -> None:
        (source / lacks).unlink()
        with pytest.raises(
            ReleaseError, match=rf"LibreChat {RELEASE} from https://github\.com/danny-avila/LibreChat"
        ):
            check(source)

    def test_another_release_is_refused(self, source: Path) -> None:
        (source / "package.json").write_text(json.dumps({"name": "LibreChat", "version": "v0.8.6"}))
        with pytest.raises(ReleaseError, match=r"holds LibreChat v0\.8\.6: get LibreChat v0\.8\.7"):
            check(source)

    def test_one_with_settings_of_its_own_is_refused(self, source: Path) -> None:
        (source / ".env").write_text("ALLOW_REGISTRATION=true")
        with pytest.raises(ReleaseError, match=r"source/\.env would be read by LibreChat"):
            check(source)

    def test_the_empty_ones_of_its_container_image_set_nothing(self, source: Path) -> None:
        (source / ".env").touch()
        check(source)

    def test_up_starts_nothing_without_one(self, tmp_path: Path) -> None:
        settings = load_settings(given(tmp_path, tmp_path / "nowhere"))
        with pytest.raises(SettingsError, match=r"LIBRECHAT_SOURCE: .*nowhere holds no LibreChat"):
            up(settings, {})
        assert not settings.home.exists()


class TestSettings:
    def test_on_one_machine_it_has_addresses_of_its_own(self, tmp_path: Path, source: Path) -> None:
        settings = load_settings(given(tmp_path, source))
        assert settings.chat.address == "https://localhost:8003"
        assert settings.openid_issuer == "https://localhost:8004"
        assert settings.mongo_uri == "mongodb://127.0.0.1:8005/LibreChat"
        assert settings.chat.uploads == str(source / "uploads")

    def test_without_it_there_is_no_chat(self, tmp_path: Path) -> None:
        settings = load_settings({"APPLIANCE_HOME": str(tmp_path)})
        assert (settings.librechat, settings.chat.address, settings.mongo_uri) == (None, "", None)

    @pytest.mark.parametrize(
        ("site", "chat", "mongo", "message"),
        [
            ("https://example.com", "", "mongodb://m/LibreChat", r"chat\.address"),
            ("", "https://chat.example.com", "mongodb://m/LibreChat", r"site\.address"),
            ("https://example.com", "https://chat.example.com", "", "MONGO_URI"),
        ],
    )
    def test_for_others_than_this_machine_everything_is_the_operators(
        self, tmp_path: Path, source: Path, site: str, chat: str, mongo: str, message: str
    ) -> None:
        config = tmp_path / "appliance.yaml"
        config.write_text(json.dumps({"site": {"address": site}, "chat": {"address": chat}}))
        with pytest.raises(SettingsError, match=message):
            up(load_settings(given(tmp_path, source, APPLIANCE_CONFIG=str(config), MONGO_URI=mongo)), {})

    @pytest.mark.parametrize(
        ("env", "message"),
        [
            ({"LIBRECHAT_PORT": "chat"}, "LIBRECHAT_PORT: a number from 0 to 65535"),
            ({"LIBRECHAT_PORT": "8003"}, "CHAT_PORT: 8003 is LIBRECHAT_PORT's already"),
            ({"PORT": "3079"}, "LIBRECHAT_PORT: 3080 is SITE_PORT's already"),
            ({"MONGO_PORT": "8002"}, "MONGO_PORT: 8002 is STRIPE_SANDBOX_PORT's already"),
        ],
    )
    def test_a_port_is_a_number_and_nobody_elses(
        self, tmp_path: Path, source: Path, env: dict[str, str], message: str
    ) -> None:
        with pytest.raises(SettingsError, match=message):
            load_settings(given(tmp_path, source, **env))

    def test_a_chat_elsewhere_needs_a_way_to_what_it_holds_of_people(self, tmp_path: Path) -> None:
        config = tmp_path / "appliance.yaml"
        config.write_text("chat: {address: https://chat.example.com}\nsite: {address: https://example.com}\n")
        settings = load_settings({"APPLIANCE_HOME": str(tmp_path / "home"), "APPLIANCE_CONFIG": str(config)})
        with pytest.raises(SettingsError, match="MONGO_URI: a chat needs it"):
            up(settings, {})
        assert not settings.home.exists()

    def test_the_parts_learn_the_ports_that_were_chosen_and_no_password(
        self, tmp_path: Path, source: Path
    ) -> None:
        env = given(tmp_path, source, PORT="0", MONGO_URI="mongodb://librechat:hunter2@m/LibreChat")
        settings = load_settings(env)
        assert settings.librechat is not None
        with ExitStack() as stack:
            settings, sockets = open_chat(settings, settings.librechat, stack)
            assert settings.librechat is not None
            told = base_environment(env, settings, plan_ray(settings))
            part = librechat_part(settings, settings.librechat, told, sockets)
            assert "hunter2" not in json.dumps(dict(part.env))
            assert "DATABASE_URL" not in part.env
            assert load_settings(part.env).chat.address == settings.chat.address
            assert settings.chat.address == f"https://localhost:{sockets[0].getsockname()[1]}"
            assert load_settings(part.env).openid_issuer == f"https://localhost:{sockets[1].getsockname()[1]}"

    def test_the_database_to_try_it_with_is_for_this_machine_alone(self, tmp_path: Path, source: Path) -> None:
        settings = load_settings(given(tmp_path, source))
        assert settings.librechat is not None
        command = mongo_part(settings, settings.librechat, {}).command
        assert command[command.index("--host") + 1] == "127.0.0.1"


class TestStart:
    def test_it_is_told_what_was_rendered(self, tmp_path: Path, source: Path) -> None:
        settings = rendered(tmp_path, source)
        found = librechat_of(settings, None, None, NOW)
        assert found.node == settings.home / "librechat" / TOOLS / NODE
        assert found.env["OPENID_ISSUER"] == "https://localhost:8004"
        assert found.env["OPENID_SCOPE"] == "openid profile email"
        assert found.env["APP_TITLE"] == "Ada's = the # best"
        assert (found.env["HOST"], found.env["PORT"]) == ("127.0.0.1", "3080")
        assert Path(found.env["CONFIG_PATH"]).exists()

    def test_before_anything_was_rendered_it_says_what_to_do(self, tmp_path: Path, source: Path) -> None:
        with pytest.raises(StartRefused, match="appliance librechat render"):
            librechat_of(load_settings(given(tmp_path, source)), None, None, NOW)


def rendered(tmp_path: Path, source: Path) -> Settings:
    config = tmp_path / "appliance.yaml"
    config.write_text(json.dumps({"site": {"name": "Ada = the # best"}}))
    settings = load_settings(given(tmp_path, source, APPLIANCE_CONFIG=str(config)))
    secrets.create(settings.secrets)
    settings.librechat_home.mkdir()
    text = environment(settings, secrets.read_chat(settings.secrets), secrets.read_librechat(settings.secrets))
    (settings.librechat_home / ".env").write_text(text.replace("Ada = ", "Ada's = "))
    chosen = Chosen("Example", settings.chat_api_url, settings.site_url, True, 720, False)
    model = Offered("smollm2", 2048, Prices(100_000, 20_000, 400_000))
    (settings.librechat_home / "librechat.yaml").write_text(configuration(chosen, [model]))
    return settings


@pytest.fixture
def printed() -> StringIO:
    return StringIO()


@pytest.fixture
def prepared(tmp_path: Path, source: Path, printed: StringIO, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """The first node of a system that is about to start LibreChat; nothing has to be installed.

    A system stops every child of its process, and here those are the tests' own: it sees none but its parts.
    """
    monkeypatch.setattr(launch, "all_statuses", list)
    monkeypatch.setattr(census, "all_statuses", list)
    monkeypatch.setattr(launch, "install_command", lambda _: ("true",))
    monkeypatch.setattr(keeper, "BACKOFF_MOST_SECONDS", 0.0)
    settings = load_settings(given(tmp_path, source, PORT="0"))
    assert settings.librechat is not None
    with ExitStack() as stack:
        settings, sockets = open_chat(settings, settings.librechat, stack)
        settings.logs.mkdir(parents=True)
        settings.run.mkdir()
        api = stack.enter_context(listening())
        yield System(settings, {}, Listeners(api, None, None, sockets), Screen(printed))


class TestSystem:
    async def test_a_database_that_does_not_start_costs_the_chat_alone(
        self, prepared: System, monkeypatch: pytest.MonkeyPatch, printed: StringIO
    ) -> None:
        fails = Part("mongo", ("false",), prepared.env, prepared.settings.logs / "mongo.log", never)
        monkeypatch.setattr(launch, "mongo_part", lambda *_: fails)
        assert prepared.settings.librechat is not None
        assert not await prepared.prepare_chat(prepared.settings.librechat)
        assert "no chat: mongo does not start, see" in printed.getvalue()
        await prepared.stop()

    @pytest.mark.parametrize("taken", ["port", "mongo_port"])
    async def test_another_program_on_its_port_or_the_databases_is_not_taken_for_it(
        self, prepared: System, printed: StringIO, taken: str
    ) -> None:
        with listening() as stranger:
            port = stranger.getsockname()[1]
            assert prepared.settings.librechat is not None
            here = replace(prepared.settings.librechat, **{taken: port})
            assert not await prepared.prepare_chat(here)
        variable = {"port": "LIBRECHAT_PORT", "mongo_port": "MONGO_PORT"}[taken]
        assert f"no chat: port {port} is taken by another program: choose another {variable}" in printed.getvalue()
        assert not prepared.keepers

    @pytest.mark.parametrize("comes", [True, False])
    async def test_the_chat_is_not_promised_before_it_answers(self, prepared: System, comes: bool) -> None:
        lines = welcome(prepared.settings, prepared.url, "ready after 9 s", first_start=True, chat_comes=comes)
        said = [line for line in lines if prepared.settings.chat.address in line]
        assert said == [f"  {prepared.settings.chat.address} for chats, as soon as a line below says so"] * comes

    async def test_the_folders_of_files_are_there_before_somebody_uploads(
        self, prepared: System, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits = Part("mongo", ("sleep", "60"), prepared.env, prepared.settings.logs / "mongo.log", at_once)
        monkeypatch.setattr(launch, "mongo_part", lambda *_: waits)
        assert prepared.settings.librechat is not None
        assert await prepared.prepare_chat(prepared.settings.librechat)
        chat = prepared.settings.chat
        assert (Path(chat.uploads).is_dir(), Path(chat.images).is_dir()) == (True, True)
        await prepared.stop()

    async def test_other_models_are_written_and_librechat_starts_again_with_them_once_no_answer_runs(
        self, prepared: System, monkeypatch: pytest.MonkeyPatch, printed: StringIO
    ) -> None:
        monkeypatch.setattr(launch, "CHAT_LOOK_SECONDS", 0.01)
        home, looked = prepared.settings.librechat_home, list[str]()
        home.mkdir()

        async def render() -> None:
            known = sorted(Directory(prepared.settings.directory).models())
            (home / "librechat.yaml").write_text(" ".join(known).replace("unpriced", "").strip())
            looked.append(" ".join(known))

        asked, quiet = asyncio.Event(), asyncio.Event()

        async def until_quiet() -> None:
            asked.set()
            await quiet.wait()

        monkeypatch.setattr(prepared, "render_chat", render)
        monkeypatch.setattr(prepared, "wait_for_quiet_chat", until_quiet)
        publish(prepared.settings, "smollm2")
        await render()
        librechat = prepared.keep(
            Part("librechat", ("sleep", "60"), prepared.env, prepared.settings.logs / "librechat.log", at_once)
        )
        await until(librechat.ready.is_set)
        first = prepared.mains["librechat"]
        keeping = asyncio.create_task(prepared.keep_chat_current(librechat))
        publish(prepared.settings, "smollm2", "unpriced")
        await until(lambda: looked[-1] == "smollm2 unpriced")
        assert prepared.mains["librechat"] == first, "nothing in the files is new"
        publish(prepared.settings, "another", "smollm2")
        await asked.wait()
        assert prepared.mains["librechat"] == first, "an answer runs"
        quiet.set()
        await until(lambda: prepared.mains.get("librechat", first) != first)
        assert "librechat is started again with other models or prices" in printed.getvalue()
        keeping.cancel()
        await prepared.stop()


def publish(settings: Settings, *models: str) -> None:
    entry = {"state": "running", "message": "", "context_length": 2048, "replicas": []}
    traits = {"traits": {"endpoints": ["/v1/chat/completions"]}}
    document = {"published_at": 0, "models": dict.fromkeys(models, entry | traits)}
    settings.directory.with_suffix(".new").write_text(json.dumps(document))
    settings.directory.with_suffix(".new").rename(settings.directory)


async def never() -> bool:
    return False


async def at_once() -> bool:
    return True


class TestCertificate:
    def test_it_is_kept_until_it_is_nearly_over_and_its_key_is_private(self, tmp_path: Path) -> None:
        first = kept(tmp_path / "tls", NOW)
        text = first.certificate.read_bytes()
        assert first.key.stat().st_mode & 0o077 == 0
        assert kept(tmp_path / "tls", NOW + LASTS - RENEWED_BEFORE - timedelta(days=1)) == first
        assert first.certificate.read_bytes() == text
        kept(tmp_path / "tls", NOW + LASTS - RENEWED_BEFORE)
        assert first.certificate.read_bytes() != text


class TestJournal:
    def test_what_it_says_before_it_listens_is_for_the_operator(self) -> None:
        journal = Journal()
        assert journal.keep(record("error", "no MongoDB at 127.0.0.1")) == "now error: no MongoDB at 127.0.0.1"
        assert journal.keep("Error: Cannot find module") == "Error: Cannot find module"
        assert journal.keep(record("info", "Custom config file loaded")) is None

    def test_after_that_nobody_is_in_it(self) -> None:
        journal = Journal()
        assert journal.keep(record("info", "Server listening at http://127.0.0.1:3080")) == "now listening"
        assert journal.keep(record("info", "[openidStrategy] login success email: ada@example.com")) is None
        found = journal.keep(record("warn", "[openidStrategy] user not found with email: ada@example.com"))
        assert found == "now warn: [openidStrategy] user not found with email: (somebody)"
        who = f"email: ada@example.com for openidId: {SUBJECT}"
        found = journal.keep(record("warn", f"[openidStrategy] user not found with {who}"))
        assert found == "now warn: [openidStrategy] user not found with email: (somebody) for openidId: (somebody)"
        said = "[openIdJwtLogin] openId JwtStrategy => no user found with the sub claims:"
        found = journal.keep(record("warn", f"{said} {SUBJECT} or email: ada@example.com"))
        assert found == f"now warn: {said} (somebody) or email: (somebody)"
        found = journal.keep(record("error", "[api/server/client.js #send] Unhandled 402 what ada wrote"))
        assert found == "now error: [api/server/client.js #send] 402"
        assert journal.keep(record("error", "what ada wrote: [ada@example.com]")) == "now error:"
        assert journal.keep("what ada wrote") is None


def record(level: str, message: str) -> str:
    return json.dumps({"timestamp": "now", "level": level, "message": message})


class Site:
    """Where the sign-on is. It is started, and is not ``there`` yet."""

    def __init__(self) -> None:
        self.there = False
        self.asked = 0
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        return web.Response(status=200 if self.there and request.path == DISCOVERY else 404, text="x" * 200_000)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site, app = Site(), web.Application()
    app.router.add_get("/{path:.*}", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    with listening() as listener:
        site.port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        yield site
        await runner.cleanup()


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.02)


class TestFront:
    async def test_it_passes_on_with_tls_what_comes_back(self, tmp_path: Path, site: Site) -> None:
        files = kept(tmp_path, datetime.now(UTC))
        trusting = ssl.create_default_context(cafile=str(files.certificate))
        with listening() as listener:
            server = await Front(site.port).serve(listener, context_of(files))
            url = f"https://localhost:{listener.getsockname()[1]}/"
            async with server, aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as response:
                assert await response.text() == "x" * 200_000

    async def test_before_what_is_behind_it_is_there_it_hangs_up(self, tmp_path: Path) -> None:
        files = kept(tmp_path, datetime.now(UTC))
        with listening() as nobody:
            closed = nobody.getsockname()[1]
        with listening() as listener:
            server = await Front(closed).serve(listener, context_of(files))
            url = f"https://localhost:{listener.getsockname()[1]}/"
            async with server, aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientError):
                    await session.get(url, ssl=ssl.create_default_context(cafile=str(files.certificate)))


class TestProcess:
    async def test_it_starts_when_the_sign_on_answers_and_ends_on_a_signal(
        self, tmp_path: Path, source: Path, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STRIPE_API_KEY", "sk_test_not_for_librechat")
        files, told, log = kept(tmp_path, datetime.now(UTC)), tmp_path / "told", list[str]()
        with listening() as chat, listening() as sign_on:
            tls = Tls(context_of(files), files.certificate, chat, sign_on, site.port)
            issuer = f"https://localhost:{sign_on.getsockname()[1]}"
            plan = LibreChat(Path(sys.executable), source, {"TOLD": str(told)}, 1, issuer, tls)
            running = asyncio.create_task(run(plan, log.append))
            await until(lambda: site.asked > 1)
            assert not told.exists()
            site.there = True
            await until(lambda: any("402" in line for line in log))
            os.kill(os.getpid(), signal.SIGTERM)
            assert await asyncio.wait_for(running, 20) == 0
        env = json.loads(told.read_text())
        assert env["NODE_EXTRA_CA_CERTS"] == str(files.certificate)
        assert env["NODE_USE_SYSTEM_CA"] == "1", "a proxy's certificate may be of the operator's own authority"
        assert env["NODE_ENV"] == "production"
        assert "STRIPE_API_KEY" not in env
        assert log[0] == f"waiting for {issuer}{DISCOVERY}: status 404"
        assert not any("ada" in line for line in log)

    async def test_its_end_is_the_end(self, tmp_path: Path, source: Path, site: Site) -> None:
        (source / SERVER).write_text("import sys; sys.exit(3)")
        site.there = True
        plan = LibreChat(Path(sys.executable), source, {}, 1, f"http://127.0.0.1:{site.port}")
        assert await asyncio.wait_for(run(plan, print), 20) == 3
