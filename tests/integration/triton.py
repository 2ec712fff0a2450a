"""Triton's HTTP clients, the blocking one and the aiohttp one, called in the same way.

Owns the choice of the client and the building of its tensors. Never changes the clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.http
import tritonclient.http.aio

from tests.harness import Server
from tests.integration.tensors import Arrays, datatype


class Triton:
    """One kind of client, opened for each call and closed after it."""

    def __init__(self, server: Server, kind: str) -> None:
        self._url = f"127.0.0.1:{server.port}"
        self._kind = kind

    def call(self, method: str, *values: Any, **named: Any) -> Any:
        """Call one method of the client."""
        if self._kind == "aio":
            return asyncio.run(self._call_aio(method, values, named))
        with tritonclient.http.InferenceServerClient(self._url) as client:
            return getattr(client, method)(*values, **named)

    async def _call_aio(self, method: str, values: Any, named: Any) -> Any:
        async with tritonclient.http.aio.InferenceServerClient(self._url) as client:
            return await getattr(client, method)(*values, **named)

    def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: Iterable[str] | None = None,
        *,
        binary_in: bool = True,
        binary_out: bool = True,
        **more: Any,
    ) -> Any:
        """Run a model; gives the client's InferResult."""
        given = []
        for name, array in inputs.items():
            one = tritonclient.http.InferInput(name, list(array.shape), datatype(array))
            one.set_data_from_numpy(array, binary_data=binary_in)
            given.append(one)
        wishes = None
        if outputs is not None:
            wishes = [
                tritonclient.http.InferRequestedOutput(name, binary_data=binary_out)
                for name in outputs
            ]
        return self.call("infer", model, given, outputs=wishes, **more)


def arrays_of(result: Any) -> dict[str, npt.NDArray[Any]]:
    """Read all outputs of an InferResult."""
    outputs = {}
    for one in result.get_response()["outputs"]:
        array = result.as_numpy(one["name"])
        assert isinstance(array, np.ndarray)
        outputs[one["name"]] = array
    return outputs
