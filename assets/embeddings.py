"""Item text embeddings: each distinct public text once, cached by the digest of text and model."""

from collections.abc import Mapping

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.automation import on_new_data
from assets.table import lineage_of, table_asset
from data.build import Outcome, packed, published_verdicts, refresh
from data.contracts.core import ITEMS
from data.contracts.model import ITEM_TEXTS, TEXT_EMBEDDINGS
from data.fingerprint import digest
from data.gate import Made, gate
from data.models import model
from data.settings import encoder_folder
from data.workspace import Workspace

CHUNK = 2048
"""Texts between two commits of the cache: what an interruption costs at most."""


def build() -> list[dg.AssetsDefinition]:
    """The embeddings and which of them belongs to which item."""
    sql = model("model/item_texts")
    traced = lineage_of(sql, {ITEMS.key: ITEMS.sql_types()})

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        before = workspace.lake.published(TEXT_EMBEDDINGS.key)
        found = refresh(
            workspace,
            [ITEM_TEXTS],
            inputs=[ITEMS],
            make=lambda session: {ITEM_TEXTS.key: Made(data=_embed(context, workspace, session.query(sql)))},
            code_version=digest(sql),
        )
        after = workspace.lake.published(TEXT_EMBEDDINGS.key)
        assert after is not None, "every text is in the cache by now"
        is_reused = before is not None and before.content == after.content
        cache = Outcome(published=after, verdicts=published_verdicts(after), is_reused=is_reused)
        return {TEXT_EMBEDDINGS.key: cache, **found}

    return [
        table_asset(
            [TEXT_EMBEDDINGS, ITEM_TEXTS],
            deps=[ITEMS.key],
            kinds={"pytorch", "huggingface", "delta"},
            code_version=digest(sql),
            body=body,
            lineage={
                ITEM_TEXTS.key: {"item_id": traced["item_id"], "text_hash": traced["item_text"]},
                TEXT_EMBEDDINGS.key: {"text_hash": traced["item_text"], "vector": traced["item_text"]},
            },
            automation=on_new_data(),
        )
    ]


def _embed(context: dg.AssetExecutionContext, workspace: Workspace, texts: pa.Table) -> pa.Table:
    """Fill the cache with what it lacks, chunk by chunk, and say which hash is each item's."""
    from transformers.utils import logging

    from ml import encoders

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    encoder = encoders.load(encoder_folder(), threads=workspace.settings.encoder_threads)
    item_texts = texts.column("item_text").to_pylist()
    missing = encoders.missing(item_texts, _cached(workspace), encoder.model_hash)
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        vectors = encoder.encode(chunk)
        _append(workspace, [encoders.text_hash(t, encoder.model_hash) for t in chunk], vectors)
        context.log.info(f"{TEXT_EMBEDDINGS.key}: {start + len(chunk):,} of {len(missing):,} new texts embedded")
    hash_of = {t: encoders.text_hash(t, encoder.model_hash) for t in dict.fromkeys(item_texts)}
    return pa.table({"item_id": texts.column("item_id"), "text_hash": [hash_of[t] for t in item_texts]})


def _cached(workspace: Workspace) -> set[str]:
    with workspace.engine.session() as session:
        session.attach(TEXT_EMBEDDINGS, workspace.lake)
        return set(session.query(f"select text_hash from {TEXT_EMBEDDINGS.key}").column("text_hash").to_pylist())


def _append(workspace: Workspace, hashes: list[str], vectors: npt.NDArray[np.float32]) -> None:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    rows = TEXT_EMBEDDINGS.conform(pa.table({"text_hash": hashes, "vector": flat.cast(pa.list_(pa.float32()))}))
    with workspace.engine.session() as session:
        verdicts = gate(workspace, TEXT_EMBEDDINGS, Made(data=rows), session)
    workspace.lake.append(TEXT_EMBEDDINGS, rows, fingerprint=digest(hashes), notes={"verdicts": packed(verdicts)})
