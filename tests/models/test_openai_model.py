"""Describing by an OpenAI-compatible server: against a real HTTP server on this machine."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caig.cli import main
from caig.errors import CheckpointError, ImageError, InputError
from caig.models import openai_model
from caig.models.hub import load_model
from caig.models.openai_model import OpenAIPromptModel
from caig.testing import check_prompt_model, sample_product
from caig.types import Product

SCENES = ["rustic kitchen table", "sandy beach by the sea", "modern office desk", "a blue haze", "a red haze"]


class Server(ThreadingHTTPServer):
    """Answers with one of `SCENES` by the request's seed, after the answers queued in `first`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.first: list[tuple[int, dict[str, str], bytes]] = []
        self.lock = threading.Lock()

    @property
    def name(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_port}/v1#tiny-vl"

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        with self.lock:
            self.requests.append(request)
            if self.first:
                return self.first.pop(0)
        return chat(f"{SCENES[request['seed'] % len(SCENES)]}, soft\n light", "stop")


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        extra = {"path": self.path, "key": self.headers.get("Authorization")}
        status, headers, answer = self.server.answer({**body, **extra})
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


def chat(text: str | None, reason: str) -> tuple[int, dict[str, str], bytes]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return 200, {}, json.dumps({"object": "chat.completion", "choices": [choice]}).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(openai_model, "PAUSE", 0.01)
    monkeypatch.delenv(openai_model.KEY, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there: never asked for this machine
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_it_keeps_the_contract(server: Server):
    check_prompt_model(load_model(server.name, "prompt"))


def test_what_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(openai_model.KEY, "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "for another service")
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    product = Product(id="a", title="Fjord mug", category="mug", image=image)
    [description] = OpenAIPromptModel(server.name).describe(product, 1, seed=3)
    [request] = server.requests
    settings = ("path", "key", "model", "temperature", "top_p", "max_tokens")
    assert [request[key] for key in settings] == ["/v1/chat/completions", "Bearer secret", "tiny-vl", 1.0, 0.9, 64]
    assert 0 <= request["seed"] < 2**31
    [turn] = request["messages"]
    picture, words = turn["content"]
    assert turn["role"] == "user" and "Fjord mug (category: mug)" in words["text"]
    kind, _, data = picture["image_url"]["url"].partition(",")
    sent = np.asarray(Image.open(BytesIO(base64.b64decode(data))))
    assert kind == "data:image/png;base64" and np.array_equal(sent, image)
    assert (description.author, description.seed) == (server.name, 3)


def test_large_photos_are_sent_smaller_and_words_alone_without_photo(server: Server):
    model = OpenAIPromptModel(server.name)
    model.describe(Product(id="a", title="mug", image=np.zeros((3000, 1500, 3), np.uint8)), 1, seed=0)
    model.describe(Product(id="a", title="mug"), 1, seed=0)
    with_photo, without = (request["messages"][0]["content"] for request in server.requests)
    data = base64.b64decode(with_photo[0]["image_url"]["url"].partition(",")[2])
    assert Image.open(BytesIO(data)).size == (512, 1024)
    assert [part["type"] for part in without] == ["text"]


def test_candidates_differ_and_do_not_depend_on_their_number(server: Server):
    model = OpenAIPromptModel(server.name)
    four = [d.text for d in model.describe(sample_product(), 4, seed=0)]
    assert len(set(four)) == 4
    assert [d.text for d in model.describe(sample_product(), 2, seed=0)] == four[:2]
    assert len({request["seed"] for request in server.requests}) >= 4


def test_a_cut_answer_loses_its_unfinished_phrase(server: Server):
    server.first = [chat("rustic kitchen table, soft morn", "length")]
    assert OpenAIPromptModel(server.name).describe(sample_product(), 1, seed=0)[0].text == "rustic kitchen table"


def test_a_busy_server_is_asked_again(server: Server):
    server.first = [(429, {"Retry-After": "0"}, b""), (503, {}, b"loading")]
    assert OpenAIPromptModel(server.name).describe(sample_product(), 1, seed=0)[0].text.endswith("soft light")
    assert len(server.requests) == 3 and len({request["seed"] for request in server.requests}) == 1


REFUSALS = [
    ((401, {}, b'{"error": "no key"}'), "got status 401 .*no key.* environment variable CAIG_OPENAI_KEY", 1),
    ((404, {}, b"no such model"), "got status 404 no such model. Check the URL, which usually ends in /v1", 1),
    ((302, {"Location": "http://127.0.0.1:1/"}, b""), "got status 302. Check the URL", 1),
    ((500, {}, b"out of memory"), "got status 500 out of memory. Try later", 4),
    ((200, {}, b"<html>hello</html>"), "expected a chat completion from http://127.0.0.1.*got b'<html>", 1),
    ((200, {}, b'{"choices": []}'), "got b'{\"choices", 1),
    (chat(None, "stop"), "expected a description, got an empty text 4 times", 4),
]


@pytest.mark.parametrize(("answer", "message", "asked"), REFUSALS, ids=[str(row[1][:24]) for row in REFUSALS])
def test_refusals_are_told(server: Server, answer: Any, message: str, asked: int):
    server.first = [answer] * 8
    with pytest.raises(CheckpointError, match=message):
        OpenAIPromptModel(server.name).describe(sample_product(), 1, seed=0)
    assert len(server.requests) == asked


def test_a_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(openai_model, "PAUSE", 0.0)
    with pytest.raises(CheckpointError, match="got ConnectionRefusedError: .*Start the server, or check the URL"):
        OpenAIPromptModel("openai:http://127.0.0.1:9/v1#m").describe(sample_product(), 1, seed=0)


def test_a_server_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch, server: Server):
    monkeypatch.setattr(openai_model, "TIMEOUT", 0.05)
    monkeypatch.setattr(openai_model, "TRIES", 2)
    with server.lock, pytest.raises(CheckpointError, match="got TimeoutError"):
        OpenAIPromptModel(server.name).describe(sample_product(), 1, seed=0)


def test_pauses_grow_and_follow_the_server_within_reason():
    assert [openai_model._pause(k, None) for k in range(3)] == [0.5, 1.0, 2.0]
    assert [openai_model._pause(0, asked) for asked in ("7", "3600", "soon")] == [7.0, 30.0, 0.5]


@pytest.mark.parametrize("name", ["openai:", "openai:127.0.0.1#m", "openai:http://h/v1", "openai:http://me:pw@h/v1#m"])
def test_wrong_names_are_told(name: str):
    with pytest.raises(CheckpointError, match="expected openai:URL#model"):
        load_model(name, "prompt")


def test_it_only_describes(server: Server):
    with pytest.raises(CheckpointError, match="reward model: expected embedded"):
        load_model(server.name, "reward")


def test_bad_input(server: Server):
    model = OpenAIPromptModel(server.name)
    with pytest.raises(InputError, match="at least 1 description"):
        model.describe(sample_product(), 0, seed=0)
    with pytest.raises(ImageError, match="u8"):
        model.describe(Product(id="a", title="mug", image=Path("mug.png")), 1, seed=0)
    assert server.requests == []


def test_on_the_command_line(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    photo = np.full((120, 120, 3), 255, np.uint8)
    photo[30:100, 40:80] = (160, 60, 20)
    Image.fromarray(photo).save(tmp_path / "mug.png")
    command = ["describe", "--image", str(tmp_path / "mug.png"), "--title", "Mug", "-n", "2"]
    assert main([*command, "--prompt-model", server.name]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 and all(line.endswith("soft light") for line in lines)
