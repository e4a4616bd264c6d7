"""Keys, hosts, origins, limits, hostile uploads: refused with 4xx, told as problem+json, memory flat."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image
from starlette.exceptions import HTTPException

from caig.errors import InputError
from caig.service.config import Config
from caig.service.guard import Rates
from caig.service.keys import Keys
from tests.service.conftest import Service, Start, picture

BOMB = 30_000  # pixels a side


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, content: bytes, *more: bytes) -> bytes:
    """A PNG of grey pixels with any header and content."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("x.html", "<script>")
    return buffer.getvalue()


def tiff() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40)).save(buffer, "tiff")
    return buffer.getvalue()


WEBP = picture(kind="webp")
HOSTILE = {
    "a bomb": png(BOMB, BOMB, bytes(BOMB * 100)),
    "a bomb of text": png(
        64, 64, bytes(65 * 64), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9))
    ),
    "huge dimensions": png(2**31 - 1, 2**31 - 1, b""),
    "a long strip": png(40_000, 16, bytes(16 * 40_001)),
    "no pixels": png(64, 64, b""),
    "a zero side": png(0, 64, b""),
    "a truncated PNG": picture()[:200],
    "a truncated JPEG": picture(kind="jpeg")[:-400],
    "a truncated WebP": WEBP[:-10],
    "a WebP with a tail": WEBP + b"tail",
    "a PNG that is a zip": picture() + archive(),
    "a JPEG that is a zip": picture(kind="jpeg") + archive(),
    "a PNG with another behind it": picture() + picture(),
    "a JPEG that is a zip and ends like a JPEG": picture(kind="jpeg") + archive() + b"\xff\xd9",
    "a JPEG that is a page": b"\xff\xd8\xff<html><script>alert(1)</script>\xff\xd9",
    "a GIF that is a script": b"GIF89a/*" + bytes(20) + b"*/=alert(1)",
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "an SVG of entities": b'<!DOCTYPE a [<!ENTITY b "bbbb">]><svg>&b;</svg>',
    "a TIFF": tiff(),
    "a PDF": b"%PDF-1.7\n",
    "nothing": b"",
    "a tiny picture": picture((8, 8)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_refused(service: Service, name: str) -> None:
    kept = sorted(service.state.files.folder.iterdir())
    answer = service.client.post("/v1/products", data={"title": "Box"}, files={"photo": HOSTILE[name]})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "/" not in answer.json()["detail"].replace("WebP/", "") and "Traceback" not in answer.text
    assert sorted(service.state.files.folder.iterdir()) == kept
    assert service.call("GET", "/v1/products")["items"] == []


def test_hostile_masks_are_refused(service: Service) -> None:
    """Beside a good photo, of which nothing is kept either."""
    for name, content in HOSTILE.items():
        files = {"photo": picture(), "mask": content}
        answer = service.client.post("/v1/products", data={"title": "Box"}, files=files)
        assert answer.status_code == 422, f"{name}: {answer.text}"
    assert service.call("GET", "/v1/products")["items"] == [] == list(service.state.files.folder.iterdir())


@pytest.mark.parametrize(
    "path",
    ["/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/", "/page/..\\app.py"],
)
def test_the_page_serves_its_own_files_only(start: Start, path: str) -> None:
    """They need no key, and nothing else comes that way."""
    service = start(role=None)
    assert service.client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert service.client.get("/page/app.js").headers["content-type"].startswith("text/javascript")
    answer = service.client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_ordinary_pictures_are_taken(service: Service) -> None:
    large = Image.effect_noise((300, 200), 60).convert("RGB")
    for kind, options in (("jpeg", {}), ("jpeg", {"progressive": True}), ("webp", {}), ("png", {"optimize": True})):
        content = io.BytesIO()
        large.save(content, kind, **options)
        files = {"photo": content.getvalue()}
        assert service.client.post("/v1/products", data={"title": kind}, files=files).status_code == 201


def test_memory_stays_flat(service: Service) -> None:
    """All of them again and again: the process's peak grows by less than one decoded bomb would take (900 MB)."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in HOSTILE.values():
        service.client.post("/v1/products", data={"title": "Box"}, files={"photo": content})
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"peak memory grew by {grown:.0f} MB")
    assert grown < 150


def test_what_is_stored_is_pixels_only(service: Service) -> None:
    """A comment in the photo is gone, and so are the names that the sender chose."""
    photo = io.BytesIO()
    Image.open(io.BytesIO(picture())).save(photo, "jpeg", comment=b"<script>alert(1)</script>", exif=b"Exif\0\0secret")
    service.product("oat", photo.getvalue())
    stored = list(service.state.files.folder.iterdir())
    assert [path.suffix for path in stored] == [".png"] and stored[0].parent == service.state.files.folder
    content = stored[0].read_bytes()
    assert b"script" not in content and b"secret" not in content
    assert service.client.get("/v1/products/oat/photo").content == content


@pytest.mark.parametrize("id", ["../../etc/passwd", "..%2f..%2fetc", "a/b", "%00", "x" * 65, "ü"])
def test_ids_are_no_paths(service: Service, id: str) -> None:
    files = {"photo": picture()}
    assert service.client.post("/v1/products", data={"title": "B", "id": id}, files=files).status_code == 422
    for path in (f"/v1/products/{id}/photo", f"/v1/creatives/{id}/image", f"/v1/jobs/{id}"):
        assert service.client.get(path).status_code in (404, 405, 422)


def test_too_many_bytes(start: Start) -> None:
    service = start(upload_bytes=2000)
    refused = service.client.post("/v1/products", data={"title": "B"}, files={"photo": bytes(3000)})
    assert (refused.status_code, refused.json()["detail"]) == (413, "upload: expected at most 2000 bytes, got more.")
    assert service.client.post("/v1/products", data={"title": "B"}, files={"photo": bytes(30_000)}).status_code == 413
    large = {"token": "x" * 70_000}
    assert start().client.post("/v1/campaigns/c/click", json=large).status_code == 413
    for path in ("/v1/campaigns/c/click", "/v1/products/oat/creatives"):  # whatever it calls itself
        answer = start().client.post(path, json=large, headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 413


def test_a_body_that_hides_its_length(start: Start) -> None:
    service = start()
    parts = (b"x" * 1000 for _ in range(100))
    answer = service.client.post("/v1/campaigns/c/click", content=parts, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_too_many_pixels(start: Start) -> None:
    service = start(upload_pixels=5000)
    refused = service.client.post("/v1/products", data={"title": "B"}, files={"photo": picture()})
    assert "expected at most 0.005 million pixels" in refused.json()["detail"]


def test_keys_are_needed(start: Start) -> None:
    service = start(role=None)
    for method, path in (("GET", "/v1/products"), ("POST", "/v1/campaigns/c/decide"), ("GET", "/metrics")):
        answer = service.client.request(method, path, json={})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert service.call("GET", "/healthz") == {"status": "ok", "painter": False}


def test_an_event_key_reports_and_nothing_else(start: Start) -> None:
    campaign = start().campaign()
    events = start(role="events")
    assert events.call("POST", f"/v1/campaigns/{campaign}/decide", json={})["version"] == 1
    for method, path in (("GET", "/v1/products"), ("POST", "/v1/campaigns"), ("GET", "/metrics")):
        answer = events.client.request(method, path, json={})
        assert answer.status_code == 403
        assert answer.json()["detail"] == "key: expected one of role admin, got one of role events."


def test_keys_by_hand(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    key = keys.make("events", "shop-1")
    assert keys.read(key) == ("events", "shop-1") == Keys(tmp_path).read(key)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    head, _, signature = key.rpartition("_")
    for forged in (key[:-1], f"{key}x", key.replace("events", "admin"), f"{head}_{'a' * 32}", key.upper(), "", "x"):
        assert keys.read(forged) is None
    assert Keys(tmp_path / "other").read(key) is None and len(signature) == 32
    keys.revoke("shop-1")
    assert keys.read(key) is None
    with pytest.raises(InputError, match="never revoked"):
        keys.make("admin", "shop-1")


def test_a_damaged_secret_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(InputError, match="expected 32 bytes, got 5"):
        Keys(tmp_path)


def test_insecure_works_on_loopback_only(start: Start) -> None:
    assert start(role=None, insecure=True).call("GET", "/v1/products") == {"items": [], "next": None}
    for host in ("0.0.0.0", "192.0.2.1", "example.org", "::"):
        with pytest.raises(InputError, match="^--insecure: expected a loopback address, got --host"):
            Config(insecure=True, host=host)
    assert Config(insecure=True, host="::1").on_loopback and Config(insecure=True, host="127.0.0.9").on_loopback


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "localhost.evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost"}, 422),
        ({"origin": "https://shop.example:8443", "host": "shop.example:8443"}, 422),
        ({}, 422),
    ],
)
def test_hosts_and_origins_of_changes(start: Start, headers: dict[str, str], status: int) -> None:
    """422 is the app's own word on an empty body: the guard let it pass."""
    service = start(allow_host=("shop.example:8443",))
    assert service.client.post("/v1/campaigns", json={}, headers=headers).status_code == status


def test_no_answer_invites_other_origins(service: Service) -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for answer in (
        service.client.get("/v1/products", headers=asked),
        service.client.options("/v1/products", headers=asked),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_rates_are_limited_by_kind(start: Start) -> None:
    service = start(changes_per_minute=3, events_per_second=1)
    found = [service.client.post("/v1/campaigns", json={}).status_code for _ in range(5)]
    assert found == [422, 422, 422, 429, 429]
    asked = [service.client.post("/v1/campaigns/c/decide", json={}) for _ in range(15)]
    assert {answer.status_code for answer in asked[:10]} == {404}
    assert asked[-1].status_code == 429 and int(asked[-1].headers["retry-after"]) >= 1
    assert service.client.get("/v1/products").status_code == 200


def test_who_asks_a_little_too_often_is_let_through_at_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.2 requests a second where one may come: 5 of 6 pass, after the burst of two."""
    rates, passed = Rates(rate=1, burst=2), 0
    for k in range(1200):
        monkeypatch.setattr("caig.service.guard.time.monotonic", lambda now=k / 1.2: now)
        with contextlib.suppress(HTTPException):
            rates.take("shop")
            passed += 1
    assert passed == pytest.approx(1000, abs=3)


def test_errors_are_problems(service: Service) -> None:
    for path in ("/nowhere", "/v1/products/none", "/v1/products?limit=0", "/v1/products/"):
        answer = service.client.get(path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) == {"title", "status", "detail"} and answer.json()["status"] == answer.status_code
    assert service.client.put("/v1/products").status_code == 405
    unknown = service.client.post("/v1/campaigns", json={"product_id": "p", "colour": "red"})
    assert "body.colour: Extra inputs are not permitted" in unknown.json()["detail"]


def test_metrics_count(service: Service) -> None:
    campaign = service.campaign()
    token = service.call("POST", f"/v1/campaigns/{campaign}/decide", json={})["token"]
    service.call("POST", f"/v1/campaigns/{campaign}/impression", json={"token": token})
    text = service.client.get("/metrics").text
    assert 'caig_events_total{kind="impression",status="counted"} 1.0' in text
    assert "caig_decisions_total 1.0" in text and "caig_jobs_waiting 0.0" in text
