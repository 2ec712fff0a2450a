"""The router: segments as they came, decoded one by one."""

from __future__ import annotations

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import MethodNotAllowed, NotFound, RequestError
from supervisor.http.router import Router


async def get(request: web.BaseRequest) -> web.Response:
    return web.Response()


async def post(request: web.BaseRequest) -> web.Response:
    return web.Response()


async def index(request: web.BaseRequest) -> web.Response:
    return web.Response()


def build() -> Router:
    router = Router()
    router.add("GET", "v2/models/{model}", get)
    router.add("POST", "v2/models/{model}", post)
    router.add("POST", "v2/models/{model}/infer", post)
    router.add("GET", "v2/models/{model}/versions/{version}", get)
    router.add("GET", "v2/models/stats", index)
    return router


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v2/models/ocr", {"model": "ocr"}),
        ("/v2/models/ocr/", {"model": "ocr"}),
        ("/v2/models/a%20b", {"model": "a b"}),
        ("/v2/models/%C3%A9", {"model": "é"}),
        ("/v2/models/a%2Fb", {"model": "a/b"}),
        ("/v2/models/a%252Fb", {"model": "a%2Fb"}),
        ("/v2/models/%2e%2e", {"model": ".."}),
        ("/v2/models/..%2F..%2Fetc", {"model": "../../etc"}),
        ("/v2/models/%ff", {"model": "\ufffd"}),
        ("/v2/models/%zz", {"model": "%zz"}),
        ("/v2/models/a+b", {"model": "a+b"}),
        ("/v2/models/ocr/versions/v1", {"model": "ocr", "version": "v1"}),
    ],
)
def test_names_are_decoded_segments_and_never_paths(path: str, names: dict[str, str]) -> None:
    assert build().find("GET", path) == (get, names)


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/v2", "/v2/models", "/v3/models/ocr", "/v2/models/a/b", "/V2/models/ocr",
        "/v2%2Fmodels%2Focr", "/v2/mod%65ls/ocr", "/v2//models/ocr", "/v2/models/../models/ocr",
    ],
)  # fmt: skip
def test_any_other_path_is_not_found(path: str) -> None:
    with pytest.raises(NotFound) as caught:
        build().find("GET", path)
    assert caught.value.status == 404
    assert str(caught.value) == f"there is no {path} here"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v2/models/ocr", "GET, POST"),
        ("GET", "/v2/models/ocr/infer", "POST"),
        ("HEAD", "/v2/models/ocr/infer", "POST"),
        ("BREW", "/v2/models/ocr/infer", "POST"),
        ("get", "/v2/models/ocr/infer", "POST"),
    ],
)
def test_another_method_is_told_which_there_are(method: str, path: str, allowed: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        build().find(method, path)
    assert caught.value.status == 405
    assert str(caught.value) == f"{method} is not allowed for {path}; use {allowed}"


def test_head_is_answered_as_get() -> None:
    assert build().find("HEAD", "/v2/models/ocr") == (get, {"model": "ocr"})


def test_the_method_chooses_among_handlers_of_a_path() -> None:
    assert build().find("POST", "/v2/models/ocr")[0] is post


def test_a_route_that_spells_a_segment_out_goes_before_one_that_takes_any() -> None:
    assert build().find("GET", "/v2/models/stats") == (index, {})
    assert build().find("POST", "/v2/models/stats") == (post, {"model": "stats"})


@given(st.text(max_size=300), st.text(max_size=10))
def test_any_path_finds_a_handler_or_an_error_of_bounded_length(path: str, method: str) -> None:
    try:
        build().find(method, path)
    except RequestError as error:
        text = str(error)
    else:
        text = ""
    assert len(text) < 300
