"""Who may do what: the whole table."""

from __future__ import annotations

import pytest

from supervisor.access.caller import NOBODY, OPERATOR, Caller
from supervisor.access.policy import Call, Credential, Rules, Verdict, call_of, may

HERE = Caller("127.0.0.1")
FAR = Caller("192.0.2.7", encrypted=True)
LOCKED = Rules(admin_from_loopback=False, inference_by_token=True)
OPEN = Rules()

NONE, UNKNOWN, INFERENCE, ADMIN = Credential
ALLOWED, ASKED, REFUSED = Verdict


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/metrics", Call.OPEN),
        ("/v2/health/live", Call.OPEN),
        ("/v2/health/ready", Call.OPEN),
        ("/v2", Call.INFER),
        ("/v2/", Call.INFER),
        ("/v2/models/m/infer", Call.INFER),
        ("/v2/models/m/versions/v1/infer", Call.INFER),
        ("/v2/models/health/ready", Call.INFER),
        ("/v2/models/repository", Call.INFER),
        ("/v2/models/stats", Call.INFER),
        ("/v2/repository/index", Call.OPERATE),
        ("/v2/repository/models/m/load", Call.OPERATE),
        ("/v2/repository/models/m/unload", Call.OPERATE),
        ("//v2/repository/index/", Call.OPERATE),
        ("/admin/models", Call.OPERATE),
        ("/admin/models/m/rollback", Call.OPERATE),
        ("/admin", Call.OPERATE),
        ("/what/comes/next", Call.OPERATE),
        ("/v2%2Fmodels", Call.OPERATE),
        ("/metrics/more", Call.OPERATE),
        ("", Call.OPERATE),
    ],
)
def test_what_a_path_asks_for(path: str, call: Call) -> None:
    assert call_of(path) is call


@pytest.mark.parametrize("rules", [OPEN, LOCKED])
@pytest.mark.parametrize("credential", Credential)
@pytest.mark.parametrize("call", Call)
def test_on_the_operators_socket_everything_is_allowed(
    call: Call, credential: Credential, rules: Rules
) -> None:
    assert may(call, OPERATOR, credential, rules) is ALLOWED


@pytest.mark.parametrize("credential", Credential)
@pytest.mark.parametrize("caller", [NOBODY, HERE, FAR])
def test_probes_and_scrapers_need_nothing(caller: Caller, credential: Credential) -> None:
    assert may(Call.OPEN, caller, credential, LOCKED) is ALLOWED


@pytest.mark.parametrize(
    ("call", "caller", "rules", "verdicts"),
    [
        (Call.INFER, FAR, OPEN, (ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Call.INFER, HERE, OPEN, (ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Call.INFER, FAR, LOCKED, (ASKED, REFUSED, ALLOWED, ALLOWED)),
        (Call.INFER, HERE, LOCKED, (ASKED, REFUSED, ALLOWED, ALLOWED)),
        (Call.OPERATE, HERE, OPEN, (ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Call.OPERATE, HERE, LOCKED, (ASKED, REFUSED, REFUSED, ALLOWED)),
        (Call.OPERATE, FAR, OPEN, (ASKED, REFUSED, REFUSED, ALLOWED)),
        (Call.OPERATE, FAR, LOCKED, (ASKED, REFUSED, REFUSED, ALLOWED)),
        (Call.OPERATE, NOBODY, OPEN, (ASKED, REFUSED, REFUSED, ALLOWED)),
    ],
)
def test_over_tcp(call: Call, caller: Caller, rules: Rules, verdicts: tuple[Verdict, ...]) -> None:
    found = tuple(may(call, caller, one, rules) for one in (NONE, UNKNOWN, INFERENCE, ADMIN))
    assert found == verdicts


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.7", False),
        ("192.0.2.7", False),
        ("0.0.0.0", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_which_addresses_are_loopback(address: str, loopback: bool) -> None:
    assert Caller(address).loopback is loopback
