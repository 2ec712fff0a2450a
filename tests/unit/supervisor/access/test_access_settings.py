"""The settings of access: what does not go together is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.errors import SettingsError
from supervisor.settings import FIELDS, load_settings

REPOSITORY = {"model_repository": "/srv/models"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"admin_socket_mode": "rw"}, "admin_socket_mode = 'rw': must be three octal digits"),
        ({"admin_socket_mode": "0680"}, "admin_socket_mode = '0680': must be three octal digits"),
        ({"admin_socket_mode": "7777"}, "admin_socket_mode = '7777': must be three octal digits"),
        ({"tls_certificate": "x"}, "tls_certificate and tls_key must both be set"),
        ({"tls_key": "x"}, "tls_certificate and tls_key must both be set"),
        ({"tls_client_ca": "x"}, "tls_client_ca is set without tls_certificate and tls_key"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({**REPOSITORY, **values}, {}, None)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("0", False), (False, False)])
def test_whether_loopback_is_trusted(text: object, value: bool) -> None:
    found = load_settings({**REPOSITORY, "admin_from_loopback": text}, {}, None)
    assert found.admin_from_loopback is value


def test_they_are_listed_last_and_variables_of_commands_are_none() -> None:
    assert next(iter(FIELDS)) == "model_repository"
    names = ("CONFIG", "URL", "TOKEN_FILE", "CA", "CERT")
    environment = {f"HOTPADDLE_{name}": "x" for name in names}
    assert load_settings(REPOSITORY, environment, None).scheme == "http"
