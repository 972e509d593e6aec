"""The key column against a dictionary."""

import numpy as np
import pytest

from requant.adapters.keys import KeyColumn
from tests import inside


@pytest.mark.parametrize("seed", range(8))
def test_random_writes_match_a_dictionary(seed):
    rng = np.random.default_rng(seed)
    column, rows = KeyColumn(), []
    for _ in range(120):
        action = rng.integers(0, 4)
        if action == 0 and rows:
            gone = rng.choice(len(rows), rng.integers(1, len(rows) + 1), replace=False)
            holes, movers = column.drop(gone)
            for hole, mover in zip(holes, movers, strict=True):
                rows[hole] = rows[mover]
            del rows[len(rows) - len(gone) :]
        elif action == 1 and rows:
            dead = rng.choice(len(rows), 1)
            column.kill(dead)
            rows[dead[0]] = -1
        else:
            new = np.setdiff1d(rng.integers(0, 400, rng.integers(0, 30)), rows)
            new = new if action == 2 else rng.permutation(new)
            column.append(new)
            rows.extend(new.tolist())
        assert column.view.tolist() == rows
        probe = rng.permutation(400)
        expected = {key: row for row, key in enumerate(rows) if key >= 0}
        assert column.find(probe).tolist() == [expected.get(int(key), -1) for key in probe]


def test_ascending_keys_need_no_sorted_copy():
    column = KeyColumn(np.arange(10))
    column.append(np.arange(10, 30))
    column.find(np.array([3]))
    assert inside.sorted_copy_of(column) is None
    column.append(np.array([5000, 40]))
    assert column.find(np.array([40, 5000, 29])).tolist() == [31, 30, 29]
    assert len(inside.sorted_copy_of(column)) == 32


def test_a_write_to_a_column_out_of_order_does_not_sort_it_again():
    column = KeyColumn(np.arange(20_000))
    column.drop(np.array([7]))
    made = inside.sorted_copy_of(column)
    for i in range(100):
        column.append(np.array([30_000 + i]))
        column.drop(np.array([3 * i]))
        column.find(np.array([5, 19_999]))
    assert inside.sorted_copy_of(column) is made
    known = column.view
    assert known[column.find(known)].tolist() == known.tolist()
    for _ in range(150):  # much that has moved is sorted in again
        column.drop(np.arange(50))
    known = column.view
    assert inside.sorted_copy_of(column) is not made
    assert column.find(known).tolist() == list(range(len(known)))
