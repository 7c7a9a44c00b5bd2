"""Which Goldcrest the tests talk to, and as whom. See run.sh for the variables."""

import json
import os
import pathlib
from dataclasses import dataclass

import firecrest


@dataclass(frozen=True)
class Target:
    """A running Goldcrest, and who asks it."""

    url: str
    system: str
    workdir: str
    token_url: str | None
    client_id: str | None
    client_secret: str | None
    token: str | None

    def authorization(self):
        if self.token:
            return FixedToken(self.token)
        return firecrest.ClientCredentialsAuth(self.client_id, self.client_secret, self.token_url)


@dataclass(frozen=True)
class FixedToken:
    token: str

    def get_access_token(self):
        return self.token


def find_target():
    setting = os.environ.get
    system = setting("GOLDCREST_TEST_SYSTEM", "slurm")
    if setting("GOLDCREST_TEST_URL"):
        return Target(
            url=setting("GOLDCREST_TEST_URL"),
            system=system,
            workdir=setting("GOLDCREST_TEST_WORKDIR", "/home/fireuser"),
            token_url=setting("GOLDCREST_TEST_TOKEN_URL"),
            client_id=setting("GOLDCREST_TEST_CLIENT_ID"),
            client_secret=setting("GOLDCREST_TEST_CLIENT_SECRET"),
            token=setting("GOLDCREST_TEST_TOKEN"),
        )
    root = pathlib.Path(setting("GOLDCREST_ENV", "/var/tmp/goldcrest-env"))
    try:
        goldcrest = json.loads((root / "goldcrest/env.json").read_text())
        oidc = json.loads((root / "oidc/env.json").read_text())
    except FileNotFoundError:
        return None
    return Target(
        url=goldcrest["url"],
        system=system,
        workdir="/home/fireuser",
        token_url=oidc["tokenUrl"],
        client_id="fireuser",
        client_secret=pathlib.Path(oidc["clients"]["fireuser"]["secretFile"]).read_text(),
        token=None,
    )
