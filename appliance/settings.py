"""The only reader of the environment and of the YAML files in `configs/`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from appliance.door.headers import Headers, strict_transport
from appliance.door.limits import Limits
from appliance.postgres import embedded_url
from billing.documents.buyers import Seller
from billing.documents.vat import Taxing, VatCode, VatRule, codes_of_both
from billing.payments.provider import CURRENCY, StripeTax
from billing.plans.catalog import Plan, PlansError, parse_plans
from serving.catalog.models import Model, ModelsError, parse_models

MAIL_PASSWORD = "MAIL_PASSWORD"  # noqa: S105 -- the name of a variable
MONGO_URI = "MONGO_URI"
STRIPE_API_KEY = "STRIPE_API_KEY"
STRIPE_WEBHOOK_PATH = "/stripe/webhook"
"""Of the site: where Stripe tells what has happened."""
STRIPE_WEBHOOK_SECRET = "STRIPE_WEBHOOK_SECRET"  # noqa: S105 -- the name of a variable
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
"""What LIBRECHAT_SOURCE may be besides a folder."""
LIBRECHAT_PORT = 3080
"""LibreChat's own choice."""
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 -- compared, not bound


class SettingsError(Exception):
    """A setting cannot be used; the message names its file or variable, the field, and what is expected."""


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `gateway` of appliance.yaml."""

    processes: Annotated[int, msgspec.Meta(ge=0, le=256)] = 1
    body_limit_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)] = 32 << 20
    shutdown_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 20
    metrics_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    health_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ("*",)
    header_bytes: Annotated[int, msgspec.Meta(ge=4096, le=1 << 20)] = 64 << 10
    header_seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10
    idle_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 75
    stalled_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60
    last_request_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 6
    connections: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 4096
    connections_per_address: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 1024


class RaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `ray` of appliance.yaml."""

    node_address: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    object_store_bytes: Annotated[int, msgspec.Meta(ge=75 << 20)] = 80 << 20


class BillingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `billing` of appliance.yaml: what the operator's terms promise, in days."""

    refund_days: Annotated[int, msgspec.Meta(ge=0, le=366)] = 30
    rate_notice_days: Annotated[int, msgspec.Meta(ge=0, le=366)] = 14
    demo_account: bool = True
    """Whether the first start makes one, with credit and a key."""


class SiteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `site` of appliance.yaml: the pages, and whose they are."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] = "Appliance"
    address: Annotated[str, msgspec.Meta(pattern=r"^(https://[^/\s?#]+)?$")] = ""
    api_address: Annotated[str, msgspec.Meta(pattern=r"^(https://[^/\s?#]+)?$")] = ""
    hsts_subdomains: bool = True
    company: str = ""
    contact: str = ""
    messages_days: Annotated[int, msgspec.Meta(ge=1, le=3660)] = 180
    sign_up: Literal["open", "invitation", "closed"] = "open"
    terms_file: str = ""
    privacy_file: str = ""
    accent: Annotated[str, msgspec.Meta(pattern="^#[0-9a-fA-F]{6}$")] = "#1f5fbf"

    @property
    def words(self) -> Sequence[str]:
        """What everybody knows of the service, and would try first as a password."""
        hosts = (address.removeprefix("https://") for address in (self.address, self.api_address))
        return (self.name, self.company, *hosts, self.contact)


class ChatSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `chat` of appliance.yaml: LibreChat, where customers chat on the same account."""

    address: Annotated[str, msgspec.Meta(pattern=r"^(https://[^/\s?#]+)?$")] = ""
    networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    api_address: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^/\s?#]+)?$")] = ""
    uploads: Annotated[str, msgspec.Meta(pattern=r"^(/.*)?$")] = ""
    images: Annotated[str, msgspec.Meta(pattern=r"^(/.*)?$")] = ""
    temporary_hours: Annotated[int, msgspec.Meta(ge=1, le=8760)] = 720
    shared_links: bool = False


@dataclass(frozen=True)
class LibreChatHere:
    """A LibreChat that `up` starts. ``port`` is its own, on this machine alone, for the proxy in front of it.

    Without a proxy of the operator's it is tried out: browsers of this machine find it at ``tls_port``, and the
    site to sign on at ``sign_on_port``. ``mongo_port`` is that of a database to try it with, 0 where he has one.
    """

    source: Path
    archive: Path | None
    """What ``source`` is unpacked from, if it is; people's files are then beside it."""
    port: int
    tls_port: int
    sign_on_port: int
    mongo_port: int

    @property
    def address(self) -> str:
        return f"https://localhost:{self.tls_port}"

    @property
    def uploads(self) -> Path:
        return self.source / "uploads" if self.archive is None else self.source.parent / "uploads"

    @property
    def images(self) -> Path:
        if self.archive is not None:
            return self.source.parent / "images"
        return self.source / "client" / "public" / "images"

    @property
    def mongo_uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.mongo_port}/LibreChat"


Signal = Literal["networks", "refused", "travel"]


class ReviewSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `review` of appliance.yaml: what counts as a sign of sharing or spam, and what follows."""

    networks: Annotated[int, msgspec.Meta(ge=2)] = 12
    networks_within_an_hour: Annotated[int, msgspec.Meta(ge=1)] = 4
    refused: Annotated[int, msgspec.Meta(ge=1)] = 1000
    refused_percent: Annotated[float, msgspec.Meta(ge=0, lt=100)] = 90
    travel_km: Annotated[float, msgspec.Meta(ge=0)] = 500
    travel_km_per_hour: Annotated[float, msgspec.Meta(gt=0)] = 1000
    places: str = ""
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 30
    suspend: tuple[Signal, ...] = ()


class MailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `mail` of appliance.yaml. Without a server, mail goes into `$APPLIANCE_HOME/outbox`."""

    sender: str = "appliance@localhost.localdomain"
    server: str = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""


class PaymentsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `payments` of appliance.yaml: what customers can buy. Amounts are whole dollars."""

    currency: str = "usd"
    practice: bool = False
    amounts: tuple[Annotated[int, msgspec.Meta(gt=0)], ...] = (10, 25, 50, 100)
    least: Annotated[int, msgspec.Meta(ge=1)] = 5
    most: Annotated[int, msgspec.Meta(le=999_999)] = 1000
    most_a_day: Annotated[int, msgspec.Meta(gt=0)] = 2000
    upgrade: Literal["prorated", "flat"] = "prorated"
    grace_days: Annotated[int, msgspec.Meta(ge=0, le=60)] = 7
    invoice_days: Annotated[int, msgspec.Meta(ge=0, le=180)] = 14
    reminder_days: Annotated[int, msgspec.Meta(ge=1, le=180)] = 7
    stop_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 21


class SellerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `seller` of appliance.yaml: who sells, as receipts and invoices say it."""

    name: str = ""
    address: str = ""
    postal_code: str = ""
    city: str = ""
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] = "NO"
    number: str = ""
    register: str = ""
    vat_registered: bool = True
    bank_account: str = ""
    series: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{0,8}$")] = ""


class VatRuleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of `vat.rules`. `percent` is text, so that no digit is lost."""

    country: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{2}|\*)$")]
    percent: Annotated[str, msgspec.Meta(pattern=r"^\d{1,2}(\.\d{1,2})?$")]
    code: str
    buyer: Literal["business", "consumer", "all"] = "all"
    note: str = ""


class VatCodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of `vat.codes`. `taxed`: Stripe put a tax on the sale; `reason` is its `taxability_reason`."""

    country: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{2}|\*)$")]
    taxed: bool
    code: str
    reason: str = "*"


class VatSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `vat` of appliance.yaml. Rules are tried in order; the last must be for everybody."""

    by: Literal["table", "stripe"] = "table"
    tax_code: Annotated[str, msgspec.Meta(pattern=r"^txcd_\d{8}$")] = "txcd_10103001"
    prices: Literal["including", "excluding"] = "including"
    falls: Literal["purchase", "use"] = "purchase"
    rules: tuple[VatRuleSettings, ...] = (
        VatRuleSettings("NO", "25", "3"),
        VatRuleSettings("*", "0", "52", note="Zero-rated: services to recipients outside Norway (mval. § 6-22)"),
    )
    codes: tuple[VatCodeSettings, ...] = (
        VatCodeSettings("NO", True, "3"),
        VatCodeSettings("*", True, "7"),
        VatCodeSettings("NO", False, "6"),
        VatCodeSettings("*", False, "52"),
    )


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of appliance.yaml."""

    gateway: GatewaySettings = GatewaySettings()
    ray: RaySettings = RaySettings()
    billing: BillingSettings = BillingSettings()
    site: SiteSettings = SiteSettings()
    chat: ChatSettings = ChatSettings()
    review: ReviewSettings = ReviewSettings()
    mail: MailSettings = MailSettings()
    payments: PaymentsSettings = PaymentsSettings()
    seller: SellerSettings = SellerSettings()
    vat: VatSettings = VatSettings()


@dataclass(frozen=True)
class Settings:
    """What the operator decided. `database_url` is None for the embedded PostgreSQL."""

    home: Path
    host: str
    port: int
    site_port: int
    database_url: str | None
    ray_address: str | None
    models: tuple[Model, ...]
    gateway: GatewaySettings
    ray: RaySettings
    billing: BillingSettings
    site: SiteSettings
    chat: ChatSettings
    review: ReviewSettings
    mail: MailSettings
    payments: PaymentsSettings
    seller: Seller
    document_series: str
    """What stands before the numbers of documents."""
    taxing: Taxing
    config_folder: Path
    """Of appliance.yaml: the files that it names are relative to it."""
    metrics_networks: tuple[Network, ...]
    health_networks: tuple[Network, ...]
    trusted_proxies: tuple[Network, ...]
    chat_networks: tuple[Network, ...]
    """From where the chat's service key is believed."""
    partner_keys: Mapping[str, str] = field(repr=False, default_factory=dict)
    """Those that the environment gives, by the name of their variable."""
    mail_password: str | None = field(repr=False, default=None)
    mongo_uri: str | None = field(repr=False, default=None)
    """LibreChat's database, with its password; None without a chat."""
    stripe_key: str | None = field(repr=False, default=None)
    stripe_webhook_secret: str | None = field(repr=False, default=None)
    stripe_sandbox_port: int = 0
    plans: tuple[Plan, ...] = ()
    librechat: LibreChatHere | None = None

    @property
    def door(self) -> Limits:
        """What a connection may take, of a gateway or of the site."""
        gateway = self.gateway
        return Limits(
            head_bytes=gateway.header_bytes,
            head_seconds=gateway.header_seconds,
            idle_seconds=gateway.idle_seconds,
            stalled_seconds=gateway.stalled_seconds,
            last_request_seconds=gateway.last_request_seconds,
            connections=gateway.connections,
            connections_per_address=gateway.connections_per_address,
            trusted_proxies=self.trusted_proxies,
            shared_by_many=self.chat_networks if self.chat.address else (),
        )

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def secrets(self) -> Path:
        return self.home / "secrets"

    @property
    def directory(self) -> Path:
        """Where `serving` publishes its replicas."""
        return self.run / "directory.json"

    @property
    def declared(self) -> Path:
        """The models that `up` or `models apply` took from models.yaml."""
        return self.run / "models.json"

    @property
    def wanted(self) -> Path:
        """Which models somebody waits for that have no replica."""
        return self.run / "wanted"

    @property
    def joined_to(self) -> Path:
        """Names the first node's Ray on every other node."""
        return self.run / "joined"

    @property
    def is_first_node(self) -> bool:
        """Where models are applied, and all journals are."""
        return not self.joined_to.exists()

    @property
    def meters(self) -> Path:
        """Where the replicas of this node keep their journals."""
        return self.home / "meters"

    @property
    def archive(self) -> Path:
        """Where records go when they leave the database."""
        return self.home / "archive"

    @property
    def places(self) -> Path | None:
        """The database that says where a network is, if the operator has one."""
        return self.config_folder / self.review.places if self.review.places else None

    @property
    def outbox(self) -> Path:
        """Where mail goes that no server takes."""
        return self.home / "outbox"

    @property
    def base_url(self) -> str:
        """Where OpenAI's client libraries find the API from this machine."""
        return f"{_reached(self.host, self.port)}/v1"

    @property
    def api_url(self) -> str:
        """Where customers find the API."""
        return f"{self.site.api_address or _reached(self.host, self.port)}/v1"

    @property
    def stripe_tax(self) -> StripeTax | None:
        """What Stripe is told, where it reckons the tax."""
        return StripeTax(self.taxing.tax_code, self.taxing.included) if self.taxing.by_stripe else None

    @property
    def chat_api_url(self) -> str:
        """Where LibreChat finds the API."""
        return f"{self.chat.api_address or _reached(self.host, self.port)}/v1"

    @property
    def site_url(self) -> str:
        """Where customers find the pages. Without TLS a browser keeps a session for this machine alone."""
        if self.site.address:
            return self.site.address
        own = self.host in (*EVERYWHERE, "127.0.0.1", "::1")
        return f"http://localhost:{self.site_port}" if own else _reached(self.host, self.site_port)

    @property
    def openid_issuer(self) -> str:
        """The site as LibreChat knows it, which signs nobody on without TLS."""
        tried = None if self.site.address else self.librechat
        return self.site_url if tried is None else f"https://localhost:{tried.sign_on_port}"

    @property
    def librechat_home(self) -> Path:
        """What LibreChat is started with, and the database to try it with."""
        return self.home / "librechat"

    @property
    def api_transport(self) -> Headers:
        """What holds browsers to TLS where the API is."""
        return strict_transport(self.site.api_address, subdomains=self.site.hsts_subdomains)

    @property
    def site_transport(self) -> Headers:
        """The same for the pages."""
        return strict_transport(self.site.address, subdomains=self.site.hsts_subdomains)

    @property
    def is_live(self) -> bool:
        """Whether real money is taken."""
        return self.stripe_key is not None and self.stripe_key.startswith(("sk_live_", "rk_live_"))

    @property
    def sandbox(self) -> bool:
        """Whether the sandbox stands in for Stripe: without a key, on a site that only this machine knows."""
        return self.stripe_key is None and not self.site.address

    @property
    def sells(self) -> bool:
        """Whether anything can be bought: a public site without a key of Stripe sells nothing."""
        return self.stripe_key is not None or self.sandbox

    @property
    def stripe_sandbox(self) -> Path:
        """What the sandbox keeps."""
        return self.home / "stripe-sandbox.sqlite"

    @property
    def stripe_sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.stripe_sandbox_port}"

    @property
    def checkout_origin(self) -> str:
        """Whose pages customers pay on."""
        return self.stripe_sandbox_url if self.sandbox else "https://checkout.stripe.com"

    @property
    def demo(self) -> Path:
        """The demo account's key, for the official client libraries."""
        return self.home / "demo.env"

    @property
    def first_link(self) -> Path:
        """The operator's first way in, as long as nobody has used it."""
        return self.run / "first-link"

    @property
    def postgres_sockets(self) -> Path:
        return self.run / "postgres"

    @property
    def sqlalchemy_url(self) -> str:
        """The database's address, whether it is the embedded one or another."""
        return self.database_url or embedded_url(self.postgres_sockets)


def _reached(host: str, port: int) -> str:
    """From this machine."""
    host = "127.0.0.1" if host in EVERYWHERE else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def load_settings(env: Mapping[str, str]) -> Settings:
    """Read everything that can be set.

    Raises:
        SettingsError: something is missing, malformed or unknown.
    """
    file = Path(env.get("APPLIANCE_CONFIG") or CONFIGS / "appliance.yaml")
    document = _read_yaml(file)
    models_file = Path(env.get("APPLIANCE_MODELS") or CONFIGS / "models.yaml")
    try:
        parsed = msgspec.convert(document, Document)
    except msgspec.ValidationError as error:
        raise SettingsError(f"appliance.yaml: {error}") from None
    try:
        models = parse_models(_read_yaml(models_file))
    except ModelsError as error:
        raise SettingsError(f"{models_file.name}: {error}") from None
    plans_file = Path(env.get("APPLIANCE_PLANS") or CONFIGS / "plans.yaml")
    try:
        plans = parse_plans(_read_yaml(plans_file), [model.id for model in models])
    except PlansError as error:
        raise SettingsError(f"{plans_file.name}: {error}") from None
    chosen = Settings(
        home=(home := Path(env.get("APPLIANCE_HOME") or "var").resolve()),
        host=env.get("HOST") or "127.0.0.1",
        port=(port := _port("PORT", env.get("PORT") or "8000")),
        site_port=(site_port := _port("SITE_PORT", env.get("SITE_PORT") or str(port and port + 1))),
        database_url=_database_url(env.get("DATABASE_URL") or None),
        ray_address=env.get("RAY_ADDRESS") or None,
        models=models,
        plans=plans,
        gateway=parsed.gateway,
        ray=parsed.ray,
        billing=parsed.billing,
        site=parsed.site,
        librechat=(librechat := _librechat(env, home, site_port)),
        chat=(chat := _chat(parsed.chat, parsed.site, librechat)),
        review=parsed.review,
        mail=parsed.mail,
        payments=_payments(parsed.payments),
        seller=_seller(parsed.seller, parsed.site),
        document_series=parsed.seller.series,
        taxing=_taxing(parsed.vat, parsed.seller),
        config_folder=file.resolve().parent,
        metrics_networks=_networks("gateway.metrics_networks", parsed.gateway.metrics_networks),
        health_networks=_networks("gateway.health_networks", parsed.gateway.health_networks),
        trusted_proxies=_networks("gateway.trusted_proxies", parsed.gateway.trusted_proxies),
        chat_networks=_networks("chat.networks", parsed.chat.networks),
        partner_keys={
            name: key for model in models if model.partner and (key := env.get(name := model.partner.key))
        },
        mail_password=env.get(MAIL_PASSWORD) or None,
        mongo_uri=_mongo_uri(env.get(MONGO_URI) or None, librechat) if chat.address else None,
        stripe_key=(stripe_key := _stripe_key(env.get(STRIPE_API_KEY) or None)),
        stripe_webhook_secret=_webhook_secret(env.get(STRIPE_WEBHOOK_SECRET) or None, stripe_key),
        stripe_sandbox_port=_port_after(env, "STRIPE_SANDBOX_PORT", site_port, 1),
    )
    _require_ports_apart(chosen)
    if chosen.is_live:
        _require_ready_to_sell(chosen, env)
    elif chosen.stripe_key is not None and chosen.site.address and not chosen.payments.practice:
        raise SettingsError(
            f"{STRIPE_API_KEY}: with a key of the test mode, whoever reaches {chosen.site.address} has credit for"
            " nothing: set payments.practice in appliance.yaml while you try it out, and let nobody else sign up"
        )
    return chosen


def _require_ports_apart(settings: Settings) -> None:
    """The chat's, which are not all listened on by `up` itself, which would notice."""
    here = settings.librechat
    if here is None:
        return
    tried = {} if settings.site.address else {"CHAT_PORT": here.tls_port, "SIGN_ON_PORT": here.sign_on_port}
    ports = {
        "PORT": settings.port,
        "SITE_PORT": settings.site_port,
        **({"STRIPE_SANDBOX_PORT": settings.stripe_sandbox_port} if settings.sandbox else {}),
        "LIBRECHAT_PORT": here.port,
        **tried,
        "MONGO_PORT": here.mongo_port,
    }
    first: dict[int, str] = {}
    for name, port in ports.items():
        if port and first.setdefault(port, name) != name:
            raise SettingsError(f"{name}: {port} is {first[port]}'s already; choose another")


def _require_ready_to_sell(settings: Settings, env: Mapping[str, str]) -> None:
    """Before real money is taken. What only Stripe can tell, `appliance doctor` says."""
    if env.get("STRIPE_SANDBOX_PORT"):
        raise SettingsError("STRIPE_SANDBOX_PORT: with a live key there is no sandbox; leave one of them out")
    if not settings.site.address:
        raise SettingsError(
            "appliance.yaml: site.address: a live key needs the address that Stripe sends events to"
        )
    lacks = [
        name for name in ("name", "address", "postal_code", "city", "number") if not getattr(settings.seller, name)
    ]
    if lacks:
        raise SettingsError(f"appliance.yaml: seller.{lacks[0]}: with a live key, receipts need it by law")


def _librechat(env: Mapping[str, str], home: Path, site_port: int) -> LibreChatHere | None:
    if env.get("CHAT") not in (None, "", "1"):
        raise SettingsError("CHAT: 1 is expected, to start LibreChat here, or nothing")
    if not env.get("CHAT"):
        return None
    named = Path(env.get("LIBRECHAT_SOURCE") or "librechat").resolve()
    is_archive = named.name.endswith(ARCHIVES) and not named.is_dir()
    return LibreChatHere(
        source=home / "librechat" / "source" if is_archive else named,
        archive=named if is_archive else None,
        port=_port("LIBRECHAT_PORT", env.get("LIBRECHAT_PORT") or str(site_port and LIBRECHAT_PORT)),
        tls_port=_port_after(env, "CHAT_PORT", site_port, 2),
        sign_on_port=_port_after(env, "SIGN_ON_PORT", site_port, 3),
        mongo_port=0 if env.get(MONGO_URI) else _port_after(env, "MONGO_PORT", site_port, 4),
    )


def _chat(section: ChatSettings, site: SiteSettings, here: LibreChatHere | None) -> ChatSettings:
    """With where LibreChat and its files are, if it is started here."""
    if here is None:
        return section
    if bool(section.address) != bool(site.address):
        lacks = "site.address" if section.address else "chat.address"
        raise SettingsError(f"appliance.yaml: {lacks}: a chat for others than this machine needs both addresses")
    return msgspec.structs.replace(
        section,
        address=section.address or here.address,
        uploads=section.uploads or str(here.uploads),
        images=section.images or str(here.images),
    )


def _payments(section: PaymentsSettings) -> PaymentsSettings:
    if section.currency != CURRENCY:
        raise SettingsError(
            f"appliance.yaml: payments.currency: the books are kept in US dollars, so {CURRENCY} is expected, "
            f"not {section.currency!r}"
        )
    if not all(section.least <= amount <= section.most for amount in section.amounts):
        raise SettingsError("appliance.yaml: payments.amounts: each must lie between least and most")
    if section.most > section.most_a_day:
        raise SettingsError("appliance.yaml: payments.most: it cannot be above payments.most_a_day")
    return section


def _seller(section: SellerSettings, site: SiteSettings) -> Seller:
    return Seller(
        section.name or site.company or site.name,
        section.address,
        section.postal_code,
        section.city,
        section.country,
        section.number,
        section.vat_registered,
        site.contact,
        section.bank_account,
        section.register,
    )


def _taxing(section: VatSettings, seller: SellerSettings) -> Taxing:
    if not seller.vat_registered:
        return Taxing([VatRule("*", None, 0, "0")], included=True)
    if section.falls == "use" and section.prices == "excluding":
        raise SettingsError("appliance.yaml: vat.falls: tax at use needs prices that include it")
    buyers = {"business": True, "consumer": False, "all": None}
    rules = [
        VatRule(rule.country, buyers[rule.buyer], int(Decimal(rule.percent) * 100), rule.code, rule.note)
        for rule in section.rules
    ]
    if not rules or (rules[-1].country, rules[-1].business) != ("*", None):
        raise SettingsError('appliance.yaml: vat.rules: the last must be for all buyers of country "*"')
    codes = [VatCode(one.country, one.taxed, one.code, one.reason) for one in section.codes]
    last = {one.taxed: (one.country, one.reason) for one in codes}
    if last != dict.fromkeys((True, False), ("*", "*")):
        raise SettingsError(
            "appliance.yaml: vat.codes: the last with taxed: true, and the last with taxed: false,"
            ' must be for country "*" and reason "*"'
        )
    by_stripe = section.by == "stripe"
    if by_stripe and section.falls == "use":
        raise SettingsError(
            "appliance.yaml: vat.falls: Stripe reckons the tax of what is bought, not of what is used"
        )
    taxing = Taxing(
        rules,
        included=section.prices == "including",
        at_use=section.falls == "use",
        by_stripe=by_stripe,
        tax_code=section.tax_code,
        codes=codes,
    )
    if by_stripe and (both := codes_of_both(taxing)):
        raise SettingsError(
            f'appliance.yaml: vat.codes: "{both[0]}" stands for sales with tax and for sales without'
            " (vat.rules count too)"
        )
    return taxing


def _stripe_key(text: str | None) -> str | None:
    if text is not None and not text.startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
        raise SettingsError(f"{STRIPE_API_KEY}: a secret key of Stripe is expected: sk_… or rk_…")
    return text


def _webhook_secret(text: str | None, key: str | None) -> str | None:
    if key is not None and (text is None or not text.startswith("whsec_")):
        raise SettingsError(f"{STRIPE_WEBHOOK_SECRET}: Stripe's secret of the webhook is expected: whsec_…")
    return text


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is no YAML: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: a mapping of names to values is expected")
    return document


def _port(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise SettingsError(f"{name}: a number from 0 to 65535 is expected, not {text!r}")


def _port_after(env: Mapping[str, str], name: str, port: int, distance: int) -> int:
    """What the variable says, or one so far behind ``port``; any free one where that is 0."""
    return _port(name, env.get(name) or str(port and port + distance))


def _networks(field: str, texts: Sequence[str]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise SettingsError(f"appliance.yaml: {field}: {error}") from None


def _mongo_uri(text: str | None, here: LibreChatHere | None) -> str | None:
    if text is None and here is not None and here.mongo_port:
        return here.mongo_uri
    if text is None or text.startswith(("mongodb://", "mongodb+srv://")):
        return text
    raise SettingsError(f"{MONGO_URI}: mongodb://user:password@host/LibreChat is expected")


def _database_url(text: str | None) -> str | None:
    """Any of the ways to write PostgreSQL's address, in the way that SQLAlchemy's asyncpg driver wants it."""
    if text is None:
        return None
    scheme, separator, rest = text.partition("://")
    if separator == "" or scheme not in ("postgres", "postgresql", "postgresql+asyncpg"):
        raise SettingsError("DATABASE_URL: postgresql://user:password@host/database is expected")
    if "sslrootcert=" in rest and not re.search(r"[?&](sslmode|ssl)=verify-(full|ca)\b", rest):
        raise SettingsError("DATABASE_URL: sslrootcert counts with sslmode=verify-full or verify-ca alone")
    return "postgresql+asyncpg://" + rest.replace("?sslmode=", "?ssl=").replace("&sslmode=", "&ssl=")
