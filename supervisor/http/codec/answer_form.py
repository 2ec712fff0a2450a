"""An answer's form: everything in it but the numbers.

Answers to requests of one plan, with outputs of one shape, differ in their numbers only. Owns the
header's JSON, split where numbers go in, and where the binary tensors lie in what the worker wrote.
Pure. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gpu_worker.ipc.tensors import Tensor, table_size
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.result import InferResult
from supervisor.errors import BadRequest, InferenceFailed
from supervisor.http.codec.decoded import HEADER_LENGTH
from supervisor.http.codec.plan import InferPlan

_HOLE: Final = b"\0"  # cannot be part of JSON
_MOST: Final = 256  # forms that are kept
_TAKEN_OVER: Final = 4  # of another lane; each takes some ten microseconds
_NOT_FINITE: Final = b"null"  # what the JSON writer makes of NaN and infinity


class AnswerForm:
    """The form of the answers of one lane to one plan, for outputs of given shapes."""

    def __init__(self, lane: Lane, plan: InferPlan, tensors: Sequence[Tensor]) -> None:
        """Lay the answer out.

        Raises:
            InferenceFailed: `tensors` lack an output; the worker is broken.

        """
        self.made_of = plan, tensors
        self.end = max((tensor.offset + tensor.nbytes for tensor in tensors), default=0)
        self.table_length = table_size(len(plan.outputs))  # of answers that are told apart by it
        by_index = {tensor.index: tensor for tensor in tensors}
        if any(wish.index not in by_index for wish in plan.outputs):
            raise InferenceFailed(
                f"model {lane.model!r} version {lane.version!r}: a worker's answer is broken: it "
                f"has the outputs {sorted(by_index)}"
            )
        outputs: list[dict[str, Any]] = []
        self.spans: list[tuple[int, int]] = []  # of binary outputs, in the worker's bytes
        self.json_outputs: list[tuple[Tensor, str]] = []  # with their names
        for wish in plan.outputs:
            tensor, spec = by_index[wish.index], lane.contract.outputs[wish.index]
            output: dict[str, Any] = {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": list(tensor.shape),
            }
            if wish.binary:
                output["parameters"] = {"binary_data_size": tensor.nbytes}
                self.spans.append((tensor.offset, tensor.offset + tensor.nbytes))
            else:
                output["data"] = orjson.Fragment(_HOLE)
                self.json_outputs.append((tensor, spec.name))
            outputs.append(output)
        header: dict[str, Any] = {"model_name": lane.model, "model_version": lane.version}
        if plan.request_id:
            header["id"] = plan.request_id
        header["outputs"] = outputs
        self._pieces = orjson.dumps(header).split(_HOLE)
        self._headers = {
            "X-Model-Version": lane.version,
            "X-Model-Generation": str(lane.generation),
            "Content-Type": "application/octet-stream" if self.spans else "application/json",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        self._head = f"HTTP/1.1 200 OK\r\n{lines}".encode()
        self._binary_bytes = sum(end - start for start, end in self.spans)
        # Of answers without numbers in their JSON, which is the same for all of them
        self.fixed_json = b"" if self.json_outputs else self._pieces[0]
        self.fixed_head = b"" if self.json_outputs else self.head(len(self.fixed_json))

    @property
    def json_mask(self) -> int:
        """One bit per output whose numbers are wanted as JSON."""
        mask = 0
        for tensor, _ in self.json_outputs:
            mask |= 1 << tensor.index
        return mask

    def header_json(self, data: memoryview, texts: Mapping[int, bytes]) -> bytes:
        """Write the JSON. `texts` holds numbers that were written elsewhere, by output.

        Raises:
            BadRequest: an output has no JSON form (FP16, NaN); names it.

        """
        parts = [self._pieces[0]]
        for (tensor, name), piece in zip(self.json_outputs, self._pieces[1:], strict=True):
            if tensor.datatype.name == "FP16":
                raise BadRequest(f"output {name!r}: FP16 has no JSON form, ask for binary_data")
            text = texts.get(tensor.index)
            if text is None:
                numbers = tensor.view(data).ravel()
                text = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)
            if _NOT_FINITE in text:
                raise BadRequest(
                    f"output {name!r} holds NaN or infinity, which JSON has not; ask for "
                    "binary_data"
                )
            parts += text, piece
        return b"".join(parts)

    def head(self, json_length: int) -> bytes:
        """Write the response's head, but for its last headers and the empty line."""
        length = json_length + self._binary_bytes
        if self.spans:
            return self._head + b"%s: %d\r\nContent-Length: %d\r\n" % (
                HEADER_LENGTH.encode(),
                json_length,
                length,
            )
        return self._head + b"Content-Length: %d\r\n" % length

    def headers(self, json_length: int) -> dict[str, str]:
        """Give the same headers, without the body's length, for aiohttp to write."""
        if self.spans:
            return {**self._headers, HEADER_LENGTH: str(json_length)}
        return self._headers


class AnswerForms:
    """The forms of one lane."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._generation = lane.generation
        self._forms: dict[bytes, AnswerForm] = {}

    def find(self, plan: InferPlan, result: InferResult) -> AnswerForm:
        """Give the form of one answer.

        Raises:
            InferenceFailed: the worker's bytes are no tensors, or not those asked for.

        """
        if plan.request_id:  # most likely no other request has it
            return AnswerForm(self._lane, plan, result.tensors())
        if self._generation != self._lane.generation:  # it was switched back to
            self._generation = self._lane.generation
            self._forms.clear()
        key = plan.form_key + bytes(result.data[: table_size(len(plan.outputs))])
        form = self._forms.get(key)
        if form is None or form.end > len(result.data):
            form = AnswerForm(self._lane, plan, result.tensors())
            if len(self._forms) >= _MOST:
                self._forms.clear()
            self._forms[key] = form
        return form

    def take_over(self, others: AnswerForms) -> None:
        """Make the forms that the answers of another lane, with an equal contract, had last."""
        for key, form in list(others._forms.items())[-_TAKEN_OVER:]:
            if key not in self._forms:
                self._forms[key] = AnswerForm(self._lane, *form.made_of)
