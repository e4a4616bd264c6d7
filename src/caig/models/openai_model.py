"""A prompt model behind an OpenAI-compatible URL: vLLM, SGLang, llama.cpp, Ollama or a provider. Describing only.

`openai:http://127.0.0.1:8000/v1#model` posts to `http://127.0.0.1:8000/v1/chat/completions`. The product's photo and
words go to that server and nowhere else: redirects are errors. A key is read from the environment variable
`CAIG_OPENAI_KEY`, a name of its own, so that a key meant for another service is never sent along.

Every candidate is a request with a seed of its own. Whether the same seed gives the same text is up to the server.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from caig.errors import CheckpointError
from caig.models.describing import MAX_TOKENS, TOP_P, describe_distinct, tidy, write_request
from caig.types import Description, Pixels, Product

KEY = "CAIG_OPENAI_KEY"
NAME = re.compile(r"openai:(?P<url>https?://[^\s#@?]+)#(?P<model>\S+)")
SIDE = 1024  # longest side of the photo that is sent, in pixels
TIMEOUT = 120.0  # seconds without a byte
TRIES = 4  # of a request, when the server is busy or cannot be reached
PAUSE = 0.5  # seconds before the second try; doubled each time, or as the server asks
LONGEST_PAUSE = 30.0
PARALLEL = 8  # requests at a time; servers batch them
BUSY = {408, 429, 500, 502, 503, 504}
LARGEST = 1 << 20  # bytes of an answer


class OpenAIPromptModel:
    """Writes descriptions by chat completions of a server; `name` is openai:URL#model."""

    fingerprint: str | None = None  # the server does not tell which weights it runs

    def __init__(self, name: str) -> None:
        parts = NAME.fullmatch(name)
        if not parts:
            expected = "openai:URL#model, such as openai:http://127.0.0.1:8000/v1#qwen3-vl"
            raise CheckpointError("prompt model", expected=expected, got=repr(name), next_step="Check the name.")
        self.name, self.model = name, parts["model"]
        self.url = f"{parts['url'].rstrip('/')}/chat/completions"
        self._opener = urllib.request.build_opener(_NoRedirect, *_proxies(self.url))

    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        """Write `n` descriptions of `product`, whose image is u8[H, W, 3] or None, distinct as the local model's are.

        CheckpointError when the server cannot be reached, refuses, or answers with something else; InputError for
        n < 1 and ImageError for a photo that was not read yet.
        """
        content = [{"type": "text", "text": write_request(product, n, seed=seed)}]
        if product.image is not None:
            content = [{"type": "image_url", "image_url": {"url": data_url(product.image)}}, *content]

        def draw(_: Sequence[int], seeds: Sequence[int]) -> list[str]:
            with ThreadPoolExecutor(min(PARALLEL, len(seeds))) as pool:
                return list(pool.map(lambda one: self._write(content, one), seeds))

        return describe_distinct(draw, [product], n, seed=seed, author=self.name)[0]

    def _write(self, content: Sequence[Any], seed: int) -> str:
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 1.0,
            "top_p": TOP_P,
            "max_tokens": MAX_TOKENS,
            "seed": seed % 2**31,  # servers differ in how long a seed may be
        }
        answer = self._post(json.dumps(request).encode())
        try:
            choice = json.loads(answer)["choices"][0]
            return tidy(choice["message"]["content"] or "", complete=choice.get("finish_reason") != "length")
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._error(
                f"{answer[:160]!r}", "Check that the URL is that of an OpenAI-compatible API, usually ending in /v1."
            ) from None

    def _post(self, body: bytes) -> bytes:
        """The server's answer; asks again, with growing pauses, while it is busy or cannot be reached."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        for attempt in range(TRIES):
            request = urllib.request.Request(self.url, data=body, headers=headers)
            try:
                with self._opener.open(request, timeout=TIMEOUT) as response:
                    return response.read(LARGEST)
            except urllib.error.HTTPError as error:
                failure, pause = self._refused(error), error.headers.get("Retry-After")
                if error.code not in BUSY:
                    raise failure from None
            except (OSError, http.client.HTTPException) as error:
                failure, pause = self._unreachable(error), None
            if attempt + 1 < TRIES:
                time.sleep(_pause(attempt, pause))
        raise failure

    def _refused(self, error: urllib.error.HTTPError) -> CheckpointError:
        said = " ".join(error.read(LARGEST).decode(errors="replace").split())[:160]
        steps = {
            401: f"Put the server's key into the environment variable {KEY}.",
            403: f"Put a key that may use this model into the environment variable {KEY}.",
            404: "Check the URL, which usually ends in /v1, and the model's name after #.",
        }
        step = steps.get(error.code, "Try later." if error.code in BUSY else "Check the URL and the model's name.")
        return self._error(f"status {error.code} {said}".strip(), step)

    def _unreachable(self, error: Exception) -> CheckpointError:
        reason = getattr(error, "reason", error)
        return self._error(f"{type(reason).__name__}: {reason}", "Start the server, or check the URL.")

    def _error(self, got: str, next_step: str) -> CheckpointError:
        return CheckpointError(
            f"prompt model {self.name!r}", expected=f"a chat completion from {self.url}", got=got, next_step=next_step
        )


def data_url(image: Pixels) -> str:
    """u8[H, W, 3] as a PNG in a data URL, its longer side at most `SIDE` pixels."""
    picture, buffer = Image.fromarray(image), BytesIO()
    picture.thumbnail((SIDE, SIDE))
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take photo and key to another server."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _proxies(url: str) -> list[Any]:
    """The environment's proxies, but none to this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return [urllib.request.ProxyHandler({})] if local else []


def _pause(attempt: int, asked: str | None) -> float:
    """Seconds to wait after try number `attempt`: what the server asked for in whole seconds, else doubling."""
    wanted = float(asked) if asked and asked.isdecimal() else PAUSE * 2**attempt
    return min(wanted, LONGEST_PAUSE)
