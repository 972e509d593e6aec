"""What both retrievers do: arguments checked, chosen between the two times they are given, told."""

from __future__ import annotations

from typing import Any

from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from requant.integration.haystack.errors import DocumentError
from requant.integration.haystack.filters import read


def checked_policy(filter_policy: FilterPolicy | str) -> FilterPolicy:
    """Return a filter policy, by its name, too."""
    if isinstance(filter_policy, FilterPolicy):
        return filter_policy
    try:
        return FilterPolicy.from_str(filter_policy)
    except (ValueError, AttributeError) as error:
        raise DocumentError(str(error)) from error


def check_retriever(
    store: object, wanted: type, filters: dict[str, Any] | None, top_k: object
) -> None:
    """Raise TypeError, DocumentError or FilterError where a retriever cannot be made so."""
    if not isinstance(store, wanted):
        kind = type(store).__name__
        raise TypeError(f"document_store is a {wanted.__name__}, not {kind}")
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise DocumentError(f"top_k is a whole number from 1 on, not {top_k!r}")
    if filters:
        read(filters)


def chosen_filters(
    policy: FilterPolicy, made_with: dict[str, Any] | None, given: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return the filters to use; raises FilterError before Haystack would combine nonsense."""
    if given:
        read(given)
    return apply_filter_policy(policy, made_with, given)
