"""The answers that ours are held against: recorded ones always, the installed library's if any."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from tests.st_cases import RECORDED, code_cases, make_inputs, search_cases

WHY = (
    "sentence-transformers is not installed: what the recorded vectors hold is tested, and nothing "
    "beyond (pip install torch sentence-transformers)"
)
installed_only = pytest.mark.skipif(find_spec("sentence_transformers") is None, reason=WHY)
BOTH = ["recorded", pytest.param("installed", marks=installed_only)]


def theirs():
    """The installed module, of release 6."""
    from sentence_transformers.util import quantization

    return quantization


def recorded(part):
    """Recorded arrays below a name."""
    with np.load(RECORDED) as file:
        return {name[len(part) + 1 :]: file[name] for name in file if name.startswith(f"{part}/")}


def inputs():
    """The recorded inputs."""
    return recorded("input")


def answers(source):
    """Codes by name, of a source."""
    if source == "recorded":
        return recorded("6")
    return code_cases(theirs().quantize_embeddings, make_inputs())


def found(source):
    """Ids and scores by name, of a source."""
    if source == "recorded":
        return recorded("search")
    module = theirs()
    searches = {
        "faiss": module.semantic_search_faiss,
        "usearch": module.semantic_search_usearch,
    }
    return search_cases(module.quantize_embeddings, searches, make_inputs())
