"""Record what the real sentence-transformers answers, for tests/test_st_*.py.

    pip install torch==2.13.0 sentence-transformers==6.2.0 faiss-cpu usearch
    pip download --no-deps sentence-transformers==5.1.2 && unzip sentence_transformers-5.1.2*.whl
    PYTHONPATH=. python tests/data/make_st_codes.py sentence_transformers/quantization.py

The argument is the module of 5.1.2, which needs nothing but NumPy and torch.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

from tests.st_cases import RECORDED, code_cases, make_inputs, old_cases, search_cases


def main(old_module):
    """Write st_codes.npz beside this script."""
    # Here, since pytest imports every file of the tests, on machines without the library too.
    from sentence_transformers.util import quantization

    inputs = make_inputs()
    recorded = {f"input/{name}": array for name, array in inputs.items()}
    for name, codes in code_cases(quantization.quantize_embeddings, inputs).items():
        recorded[f"6/{name}"] = codes
    spec = spec_from_file_location("old_quantization", old_module)
    old = module_from_spec(spec)
    spec.loader.exec_module(old)
    with np.errstate(invalid="ignore"):
        for name, codes in old_cases(old.quantize_embeddings, inputs).items():
            recorded[f"5/{name}"] = codes
    searches = {
        "faiss": quantization.semantic_search_faiss,
        "usearch": quantization.semantic_search_usearch,
    }
    found = search_cases(quantization.quantize_embeddings, searches, inputs)
    recorded |= {f"search/{name}": array for name, array in found.items()}
    np.savez_compressed(RECORDED, **recorded)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
