"""An S3 service of moto behind TLS, in an environment of its own (requirements/s3.txt).

``python moto_server.py ADDRESS CERTIFICATE KEY BUCKET POLICY``: the bucket keeps versions. The policy is of the
node's key; this one and one that may do everything are the first line that it prints.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

from moto import settings
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.responses import ACTION_MAP
from werkzeug.serving import run_simple

PORT = 443
ACCOUNT, REGION = "123456789012", "us-east-1"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class Handler(MotoRequestHandler):  # type: ignore[misc]
    def finish(self) -> None:
        """Say over TLS that it is the end: pgBackRest takes silence for an answer that was cut off."""
        super().finish()
        self.connection.settimeout(1)
        with suppress(OSError):
            self.connection.unwrap()


def key(user: str, policy: str) -> tuple[str, str]:
    """Of a new user who may do what the policy says."""
    users = get_backend("iam")[ACCOUNT]["aws"]
    users.create_user(REGION, user)
    users.put_user_policy(user, "backups", policy)
    made = users.create_access_key(user)
    return made.access_key_id, made.secret_access_key


def main(address: str, certificate: str, private: str, bucket: str, policy: str) -> None:
    buckets = get_backend("s3")[ACCOUNT]["aws"]
    buckets.create_bucket(bucket, REGION)
    buckets.put_bucket_versioning(bucket, "Enabled")
    keys = {"node": key("node", policy), "operator": key("operator", json.dumps(EVERYTHING))}
    print(json.dumps(keys), flush=True)  # noqa: T201
    settings.S3_IGNORE_SUBDOMAIN_BUCKETNAME = "true"  # s3.test is no bucket of test's
    ACTION_MAP["BUCKET"]["HEAD"]["DEFAULT"] = "ListBucket"  # as S3 has it; restic 0.14 begins with it
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0  # from here on, keys and policies count
    run_simple(
        address, PORT, DomainDispatcherApplication(create_backend_app), threaded=True,
        ssl_context=(certificate, private), request_handler=Handler,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
