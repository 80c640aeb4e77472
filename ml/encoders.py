"""Texts to vectors: all-MiniLM-L6-v2 through transformers, from a local folder, never from a network.

Recipe of the model card (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2): the mean of the last layer's
token vectors under the attention mask, then L2 norm 1; texts are cut at 256 tokens. Embeddings of public texts may be
shared through a cache keyed by `text_hash`; a user's own texts never enter that cache.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

EMBEDDING_SIZE = 384
"""Length of a vector."""

MAX_TOKENS = 256
"""Tokens after which a text is cut, as in the model's training."""

Progress = Callable[[int, int], None]
"""Told (texts done, texts in all) after every batch."""


@dataclass(frozen=True)
class TextEncoder:
    """A loaded model; make one with `load`."""

    model_hash: str
    """Digest of the weights and of the recipe: equal digests give equal vectors, up to the precision."""
    dtype: Literal["bfloat16", "float32"]
    """Precision of the weights."""
    threads: int
    """CPU threads while encoding."""
    _tokenizer: Any
    _model: Any

    def encode(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Embed texts, each distinct one once.

        Batches are made of texts of like length, sorted by (tokens, text): the result for a set of texts does not
        depend on their order. With other texts beside it a text's vector moves within the precision (bfloat16: cosine
        above 0.999).

        Args:
            texts: (n,) any strings.
            batch_size: texts a forward pass, at least 1.
            progress: told after every batch.

        Returns:
            (n, 384) float32 of L2 norm 1; the zero vector for an empty or blank text, which is like nothing.

        Raises:
            ValueError: `batch_size` is under 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give at least 1.")
        distinct = sorted({text for text in texts if text.strip()})
        row = {text: n for n, text in enumerate(distinct)}
        vectors = np.zeros((len(distinct) + 1, EMBEDDING_SIZE), dtype=np.float32)  # the last row: blank texts
        if distinct:
            ids = self._tokenizer(distinct, truncation=True, max_length=MAX_TOKENS)["input_ids"]
            order = sorted(range(len(distinct)), key=lambda n: len(ids[n]))
            with _threads(self.threads):
                for start in range(0, len(order), batch_size):
                    batch = order[start : start + batch_size]
                    vectors[batch] = self._forward([ids[n] for n in batch])
                    if progress is not None:
                        progress(start + len(batch), len(order))
        return vectors[[row.get(text, -1) for text in texts]]

    def _forward(self, ids: list[list[int]]) -> NDArray[np.float32]:
        """One batch: (b, 384) float32."""
        import torch

        batch = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            tokens = self._model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1).float()
            pooled = (tokens * mask).sum(1) / mask.sum(1)
            vectors: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return vectors


def load(
    folder: Path,
    *,
    dtype: Literal["bfloat16", "float32"] | None = None,
    threads: int = 1,
    device: "str | torch.device" = "cpu",
) -> TextEncoder:
    """Load the model from a folder; no name is looked up and no network is used.

    Args:
        folder: with config.json, model.safetensors and tokenizer.json of all-MiniLM-L6-v2.
        dtype: precision of the weights; None takes `fastest_dtype` of the device.
        threads: CPU threads while encoding, at least 1.
        device: where the weights live.

    Returns:
        The encoder.

    Raises:
        ValueError: `threads` is under 1, or the folder holds another model.
        FileNotFoundError: a file of the model is missing.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; give at least 1.")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; give the folder of all-MiniLM-L6-v2.")
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    dtype = dtype or fastest_dtype(device)
    precision = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    model = AutoModel.from_pretrained(str(folder), local_files_only=True, dtype=precision).eval().to(device)
    if model.config.hidden_size != EMBEDDING_SIZE:
        raise ValueError(f"The model in {folder} has size {model.config.hidden_size}; give one of {EMBEDDING_SIZE}.")
    with (folder / "model.safetensors").open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    recipe = f"{digest} {dtype} mean l2 {MAX_TOKENS}"
    return TextEncoder(hashlib.sha256(recipe.encode()).hexdigest(), dtype, threads, tokenizer, model)


def fastest_dtype(device: "str | torch.device" = "cpu") -> Literal["bfloat16", "float32"]:
    """The precision in which a device encodes fastest.

    On a CPU that multiplies bfloat16 (AMX, AVX-512 BF16) it takes a quarter of the time of float32, at a cosine of
    0.9999 to it; on one that does not, it is emulated and takes three times as long.

    Args:
        device: where the weights will live.

    Returns:
        bfloat16 where the hardware has it, else float32.
    """
    import torch

    if torch.device(device).type != "cpu":
        return "bfloat16"
    able = torch.cpu.get_capabilities()
    return "bfloat16" if able.get("amx_bf16") or able.get("avx512_bf16") else "float32"


def text_hash(text: str, model_hash: str) -> str:
    """The key of a text's vector in a cache: SHA-256 of model and text, in hexadecimal."""
    return hashlib.sha256(f"{model_hash}\n{text}".encode()).hexdigest()


def missing(texts: Iterable[str], cached_hashes: Collection[str], model_hash: str) -> list[str]:
    """The texts that a cache lacks.

    Args:
        texts: any texts, with repeats.
        cached_hashes: what `text_hash` gave for the cached ones, a set where there are many.
        model_hash: of the encoder in use; vectors of another model do not count.

    Returns:
        Each missing text once, in order of first appearance.
    """
    return [text for text in dict.fromkeys(texts) if text_hash(text, model_hash) not in cached_hashes]


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Use some CPU threads, then as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
