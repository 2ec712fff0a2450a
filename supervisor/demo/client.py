"""The demo's HTTP client of one model.

Owns the calls that the demo makes: the model's metadata, infer, and the operator's view
of the model. Never retries: a request that fails is counted as failed.
Runs in the process of `hotpaddle demo`.
"""

from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from supervisor.demo.errors import DemoError
from supervisor.demo.wire import (
    Answer,
    AnswerError,
    EncodedRequest,
    Signature,
    decode_answer,
    parse_signature,
)

REQUEST_TIMEOUT_S: Final = 10.0
_ERROR_TEXT_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class ModelView:
    """What the server tells an operator about a model.

    Attributes:
        serving: The version that serves; None when there is none.
        failed: The version that was refused last; None when none was.
        reason: Why it was refused.

    """

    serving: str | None
    failed: str | None
    reason: str


class ModelClient:
    """Calls one server about one model.

    Args:
        http: The connections to use.
        url: The server's address, without a slash at the end.
        model: The model's name.

    """

    def __init__(self, http: aiohttp.ClientSession, url: str, model: str) -> None:
        self._http = http
        self._metadata_url = f"{url}/v2/models/{model}"
        self._infer_url = f"{url}/v2/models/{model}/infer"
        self._view_url = f"{url}/admin/models/{model}"

    async def signature(self) -> Signature:
        """Ask for the names of the model's input and output.

        Raises:
            DemoError: The server doesn't describe the model as a recogniser.

        """
        try:
            return parse_signature(await self._get_json(self._metadata_url))
        except AnswerError as error:
            raise DemoError(f"GET {self._metadata_url}: {error}") from error

    async def view(self) -> ModelView:
        """Ask what serves and what was refused last.

        Raises:
            DemoError: The server gives no such view.

        """
        status = await self._get_json(self._view_url)
        serving = status.get("serving") or {}
        failure = status.get("last_failure") or {}
        return ModelView(serving.get("version"), failure.get("version"), failure.get("reason", ""))

    async def infer(self, signature: Signature, request: EncodedRequest) -> Answer:
        """Send one request and return its answer.

        Raises:
            AnswerError: The answer is an error, or isn't the asked-for result.
            aiohttp.ClientError: The connection failed.
            TimeoutError: No answer came in time.

        """
        async with self._http.post(
            self._infer_url, data=request.body, headers=request.headers
        ) as response:
            body = await response.read()
            if response.status != 200:
                text = body[:_ERROR_TEXT_SHOWN].decode(errors="replace")
                raise AnswerError(f"status {response.status}: {text}")
            return decode_answer(signature, response.headers, body)

    async def _get_json(self, url: str) -> dict[str, Any]:
        try:
            async with self._http.get(url) as response:
                if response.status != 200:
                    raise DemoError(
                        f"GET {url} answered {response.status}: {await response.text()}"
                    )
                content = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DemoError(f"GET {url} failed: {error!r}") from error
        if not isinstance(content, dict):
            raise DemoError(f"GET {url} answered no JSON object")
        return content
