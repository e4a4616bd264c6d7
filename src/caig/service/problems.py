"""Errors as application/problem+json (RFC 9457): title, status, detail; never a traceback or a path of the server."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from caig.errors import CaigError


class Problem(BaseModel):
    """What went wrong: `title` names the kind, `detail` says what was expected, what came and what to do."""

    title: str
    status: int
    detail: str


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "Not done", "content": {"application/problem+json": {}}}
}


def problem(status: int, detail: str, **headers: str) -> JSONResponse:
    """A response that tells of one error."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def answer_with_problems(app: FastAPI) -> None:
    """Have every error of `app` answered in this form."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(CaigError, _of_input)


async def _of_http(_: Request, error: Any) -> JSONResponse:
    return problem(error.status_code, str(error.detail), **(error.headers or {}))


async def _of_validation(_: Request, error: Any) -> JSONResponse:
    found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]]
    return problem(422, "; ".join(found))


async def _of_input(_: Request, error: Any) -> JSONResponse:
    """What the sender gave is not usable; other errors of caig are the server's own."""
    return problem(422 if isinstance(error, ValueError) else 503, str(error))
