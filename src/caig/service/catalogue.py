"""Products, their creatives, and the jobs that make these."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.responses import FileResponse
from sqlalchemy import Table
from starlette.exceptions import HTTPException

from caig.data.themes import themes
from caig.imaging.placing import PRESETS
from caig.online.schema import creatives, jobs, products
from caig.service import store
from caig.service.bodies import (
    ChoicesOut,
    CreativeList,
    CreativeOut,
    Cursor,
    FormatOut,
    Id,
    JobIn,
    JobOut,
    JobPage,
    Limit,
    LockIn,
    PathId,
    ProductOut,
    ProductPage,
    RepaintIn,
    Text,
    Title,
)
from caig.service.problems import RESPONSES
from caig.service.state import Here, State, admin, missing

router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Depends(admin)], responses=RESPONSES)


@router.get("/choices")
async def choices() -> ChoicesOut:
    """Themes and formats that jobs may name."""
    formats = [FormatOut(name=name, width=width, height=height) for name, (width, height) in PRESETS.items()]
    return ChoicesOut(themes=list(themes()), formats=formats)


@router.post("/products", status_code=201)
async def add_product(
    state: Here,
    title: Annotated[Title, Form()],
    photo: Annotated[UploadFile, File()],
    category: Annotated[Text, Form()] = "",
    id: Annotated[Id | None, Form()] = None,
    mask: Annotated[UploadFile | None, File()] = None,
) -> ProductOut:
    """Store a product with its photo and, where its ground is not plain, a mask: white on the product."""
    content, outline = await _content(state, photo), None if mask is None else await _content(state, mask)
    async with state.decoding:
        names = await asyncio.to_thread(state.files.take, content, outline, state.config.upload_pixels)
    row: store.Row = {"id": id or uuid.uuid4().hex, "title": " ".join(title.split()), "category": category.strip()}
    row |= {"photo": names[0], "mask": names[1]}
    return ProductOut(**await asyncio.to_thread(store.add_product, state.engine, row))


async def _content(state: State, file: UploadFile) -> bytes:
    most = state.config.upload_bytes
    content = await file.read(most + 1)
    if len(content) > most:
        raise HTTPException(413, f"upload: expected at most {most} bytes, got more.")
    return content


@router.get("/products")
async def list_products(state: Here, limit: Limit = 50, cursor: Cursor = None) -> ProductPage:
    """Products in the order in which they came."""
    rows, following = await asyncio.to_thread(store.page, state.engine, products, limit, cursor, {})
    return ProductPage(items=[ProductOut(**row) for row in rows], next=following)


@router.get("/products/{product_id}")
async def show_product(product_id: PathId, state: Here) -> ProductOut:
    """One product."""
    return ProductOut(**await _get(state, products, product_id))


@router.get("/products/{product_id}/photo", response_class=FileResponse)
async def show_photo(product_id: PathId, state: Here) -> FileResponse:
    """Its photo, as PNG."""
    row = await _get(state, products, product_id)
    return FileResponse(state.files.path(row["photo"]), media_type="image/png")


@router.post("/products/{product_id}/creatives", status_code=202)
async def make_creatives(product_id: PathId, body: JobIn, state: Here) -> JobOut:
    """Ask the painter for ads; the job tells how far they are."""
    await _get(state, products, product_id)
    request = {**body.model_dump(), "description": None, "parent": None}
    return JobOut(**await asyncio.to_thread(store.add_job, state.engine, product_id, request, body.n))


@router.get("/products/{product_id}/creatives")
async def list_creatives(product_id: PathId, state: Here) -> CreativeList:
    """The product's ads, best predicted CTR first."""
    await _get(state, products, product_id)
    rows = await asyncio.to_thread(store.ranked, state.engine, product_id)
    return CreativeList(items=[CreativeOut(**row) for row in rows])


@router.post("/creatives/{creative_id}/repaint", status_code=202)
async def repaint(creative_id: PathId, body: RepaintIn, state: Here) -> JobOut:
    """Paint an ad again with an edited description; the old one stays."""
    row = await _get(state, creatives, creative_id)
    request = {"n": 1, "width": row["width"], "height": row["height"], "parent": creative_id, **body.model_dump()}
    return JobOut(**await asyncio.to_thread(store.add_job, state.engine, row["product_id"], request, 1))


@router.patch("/creatives/{creative_id}")
async def change_creative(creative_id: PathId, body: LockIn, state: Here) -> CreativeOut:
    """Lock an ad that is good, or let it go."""
    await _get(state, creatives, creative_id)
    await asyncio.to_thread(store.lock, state.engine, creative_id, body.locked)
    return CreativeOut(**await _get(state, creatives, creative_id))


@router.get("/creatives/{creative_id}/image", response_class=FileResponse)
async def show_image(creative_id: PathId, state: Here) -> FileResponse:
    """The ad, as PNG."""
    row = await _get(state, creatives, creative_id)
    return FileResponse(state.files.path(row["file"]), media_type="image/png")


@router.get("/creatives/{creative_id}/layers", response_class=FileResponse)
async def show_layers(creative_id: PathId, state: Here) -> FileResponse:
    """Background, shadow and product as layers, as OpenRaster; the original photo has none."""
    row = await _get(state, creatives, creative_id)
    if row["layers"] is None:
        missing("layers of", creative_id)
    path = state.files.path(row["layers"])
    return FileResponse(path, media_type="image/openraster", filename=f"{creative_id}.ora")


@router.get("/jobs")
async def list_jobs(state: Here, limit: Limit = 50, cursor: Cursor = None, product_id: Id | None = None) -> JobPage:
    """Jobs in the order in which they came."""
    where = {} if product_id is None else {"product_id": product_id}
    rows, following = await asyncio.to_thread(store.page, state.engine, jobs, limit, cursor, where)
    return JobPage(items=[JobOut(**row) for row in rows], next=following)


@router.get("/jobs/{job_id}")
async def show_job(job_id: PathId, state: Here) -> JobOut:
    """How far a job is."""
    return JobOut(**await _get(state, jobs, job_id))


async def _get(state: State, table: Table, id: str) -> store.Row:
    """The row with this id, or 404."""
    row = await asyncio.to_thread(store.get, state.engine, table, id)
    return row or missing(table.name.removesuffix("s"), id)
