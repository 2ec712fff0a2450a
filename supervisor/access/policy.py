"""Who may do what: one pure decision.

Owns the kinds of calls and of credentials, and the rule. A path that it does not know is an
operator's, so that a new one is shut until it is opened here. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from supervisor.access.caller import Caller


class Call(Enum):
    """What a call is for."""

    OPEN = "open"  # health, metrics: probes and scrapers carry no credentials
    INFER = "infer"  # inferences, and what a client must know for them
    OPERATE = "operate"  # shows or changes what serves


class Credential(Enum):
    """What a call brings with it."""

    NONE = "none"
    UNKNOWN = "unknown"
    INFERENCE = "inference"
    ADMIN = "admin"


class Verdict(Enum):
    """What comes of it."""

    ALLOWED = "allowed"
    ASKED = "asked for a credential"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say."""

    admin_from_loopback: bool = True
    inference_by_token: bool = False


def call_of(path: str) -> Call:
    """Say what a path (without its query) asks for; segments count as they came, undecoded."""
    match path.strip("/").split("/"):
        case ["metrics"] | ["v2", "health", *_]:
            return Call.OPEN
        case ["v2", "repository", *_]:
            return Call.OPERATE
        case ["v2", *_]:
            return Call.INFER
    return Call.OPERATE


def may(call: Call, caller: Caller, credential: Credential, rules: Rules) -> Verdict:
    """Decide."""
    if caller.operator or call is Call.OPEN or credential is Credential.ADMIN:
        return Verdict.ALLOWED
    if call is Call.INFER:
        if credential is Credential.INFERENCE or not rules.inference_by_token:
            return Verdict.ALLOWED
    elif rules.admin_from_loopback and caller.loopback:
        return Verdict.ALLOWED
    return Verdict.ASKED if credential is Credential.NONE else Verdict.REFUSED
