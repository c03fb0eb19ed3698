"""The files that the parts of a node expect in its home, before any of them starts."""

from __future__ import annotations

from appliance import secrets
from appliance.librechat.running.release import WHERE_TO_GET_IT, ReleaseError, check
from appliance.settings import MAIL_PASSWORD, MONGO_URI, LibreChatHere, Settings, SettingsError
from serving.catalog.declared import declare
from serving.partner import keys


def require_what_the_first_node_needs(settings: Settings) -> None:
    """Raises SettingsError: there is no gateway, or a chat lacks something."""
    if not settings.gateway.processes:
        raise SettingsError("appliance.yaml: gateway.processes: the first node needs one")
    if settings.librechat is not None:
        _require_a_librechat(settings, settings.librechat)
    elif settings.chat.address and settings.mongo_uri is None:
        raise SettingsError(f"{MONGO_URI}: a chat needs it: what it holds of people is exported and deleted by it")


def _require_a_librechat(settings: Settings, here: LibreChatHere) -> None:
    if settings.site.address and here.mongo_port:
        raise SettingsError(f"{MONGO_URI}: a chat for others than this machine needs a MongoDB of yours")
    if here.archive is not None:
        if not here.archive.is_file():
            raise SettingsError(f"LIBRECHAT_SOURCE: {here.archive} is not there: {WHERE_TO_GET_IT}")
        return
    try:
        check(here.source)
    except ReleaseError as error:
        raise SettingsError(f"LIBRECHAT_SOURCE: {error}") from None


def lay_out(settings: Settings) -> None:
    """Of the first node: secrets that do not exist yet, and the models as models.yaml has them now.

    Raises:
        SettingsError: a password or a partner's key is missing.
    """
    if settings.mail.user and settings.mail_password is None:
        raise SettingsError(f"{MAIL_PASSWORD}: appliance.yaml names a mail.user, whose password is expected")
    secrets.create(settings.secrets)
    try:
        keys.keep(settings.home, settings.models, settings.partner_keys)
    except keys.KeyMissing as missing:
        raise SettingsError(str(missing)) from None
    declare(settings.declared, settings.models)
    keys.forget_others(settings.home, settings.models)
    settings.joined_to.unlink(missing_ok=True)


def require_what_the_first_node_has(settings: Settings) -> None:
    """Of a further node.

    Raises:
        SettingsError, SecretsError: something that the first node has is missing here.
    """
    if settings.database_url is None:
        raise SettingsError("DATABASE_URL: the first node's database is expected, by an address that reaches it")
    secrets.read(settings.secrets)
    if settings.chat.address:
        secrets.read_chat_service_key(settings.secrets)
