"""sentence-transformers' quantization functions, with right answers.

Change the import line, and nothing else:

```
from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss
from requant.integration.sentence_transformers import quantize_embeddings, semantic_search_faiss
```
Codes are equal bit for bit. Searches accept the float vectors as well and rescore with them; see
`docs/embeddings-int8.md`. sentence-transformers itself need not be installed.
"""

from requant.embeddings import Calibration
from requant.integration.sentence_transformers.engines import (
    semantic_search_faiss,
    semantic_search_usearch,
)
from requant.integration.sentence_transformers.quantize import quantize_embeddings
from requant.integration.sentence_transformers.wrapping import QuantizedModel, wrap

__all__ = [
    "Calibration",
    "QuantizedModel",
    "quantize_embeddings",
    "semantic_search_faiss",
    "semantic_search_usearch",
    "wrap",
]
