"""The tree of errors that reach a user, and the HTTP status of each.

Owns the classes; the one place that turns them into answers is `http.server`. Any process that
talks to users may raise them::

    HotpaddleError
    ├── SettingsError                     a setting is unknown or bad; the command ends
    ├── RepositoryError                   the model repository or a version in it is unusable
    │   ├── VersionRejected               verification or contract: state REJECTED
    │   └── VersionFailed                 load or warm-up: state FAILED
    ├── DeviceRefusedError                a worker cannot use its device; the command ends
    └── RequestError                      an answer with a status
        ├── BadRequest                400
        │   └── ModelUnavailable      400 load or unload that did not succeed (as Triton answers)
        ├── Unauthorized              401 with WWW-Authenticate
        ├── Forbidden                 403
        ├── NotFound                  404
        ├── MethodNotAllowed          405
        ├── HeadTimeout               408
        ├── BodyTimeout               408
        ├── TooLarge                  413
        ├── UnsupportedEncoding       415
        ├── InferenceFailed           500
        │   └── PoisonRequest         500 it was running in two crashes
        ├── NotReady                  503 with Retry-After
        │   └── Overloaded            503 with Retry-After: queue or arena is full
        └── DeadlineExceeded          504
"""

from __future__ import annotations

from typing import ClassVar


class HotpaddleError(Exception):
    """Root of all errors that a user may see."""


class SettingsError(HotpaddleError):
    """A setting is unknown or has a value that is not allowed."""


class RepositoryError(HotpaddleError):
    """The model repository, or a version in it, cannot be used. `kind` is a word for metrics."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class VersionRejected(RepositoryError):  # noqa: N818 - named as the state
    """A version did not pass verification, or its contract differs."""


class VersionFailed(RepositoryError):  # noqa: N818 - named as the state
    """A version could not be loaded or warmed up."""


class DeviceRefusedError(HotpaddleError):
    """A worker cannot use the device that it was given."""


class RequestError(HotpaddleError):
    """A request that is answered with an error."""

    status: ClassVar[int] = 500
    retry_after_s: ClassVar[int | None] = None


class BadRequest(RequestError):  # noqa: N818 - named as HTTP names it
    """The request is wrong; the text names the field."""

    status = 400


class ModelUnavailable(BadRequest):
    """A load or unload that was asked for did not succeed."""


class Unauthorized(RequestError):  # noqa: N818 - named as HTTP names it
    """The call needs a bearer token and brings none."""

    status = 401


class Forbidden(RequestError):  # noqa: N818 - named as HTTP names it
    """The call brings a token that does not allow it."""

    status = 403


class NotFound(RequestError):  # noqa: N818 - named as HTTP names it
    """No such model, version or path."""

    status = 404


class MethodNotAllowed(RequestError):  # noqa: N818 - named as HTTP names it
    """The path exists, the method does not."""

    status = 405


class HeadTimeout(RequestError):  # noqa: N818 - named as HTTP names it
    """A request's head did not arrive in time."""

    status = 408


class BodyTimeout(RequestError):  # noqa: N818 - named as HTTP names it
    """The body did not arrive in time."""

    status = 408


class TooLarge(RequestError):  # noqa: N818 - named as HTTP names it
    """The body is larger than `max_request_mb`."""

    status = 413


class UnsupportedEncoding(RequestError):  # noqa: N818 - named as HTTP names it
    """The Content-Encoding is none that the server reads."""

    status = 415


class InferenceFailed(RequestError):  # noqa: N818 - the field's word
    """The predictor raised, or its answer did not fit."""

    status = 500


class PoisonRequest(InferenceFailed):
    """The request was running each time when two workers died."""


class NotReady(RequestError):  # noqa: N818 - the field's word
    """The model does not serve at present."""

    status = 503
    retry_after_s = 1


class Overloaded(NotReady):
    """A queue or the arena is full."""


class DeadlineExceeded(RequestError):  # noqa: N818 - the field's word
    """No answer by the request's deadline."""

    status = 504
