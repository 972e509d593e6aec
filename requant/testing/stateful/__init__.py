"""Random histories of a database against a plain dictionary (needs pytest and hypothesis).

```python
from requant.testing.stateful import StatefulConformance

class TestMyEngine(StatefulConformance):
    engine = "mine"        # as it is registered
```
"""

import pytest

pytest.register_assert_rewrite(
    "requant.testing.stateful.machine",
    "requant.testing.stateful.model",
    "requant.testing.stateful.world",
)

from requant.testing.stateful.suite import StatefulConformance  # noqa: E402

__all__ = ["StatefulConformance"]
