"""What is told to engines and to no store, and which hosts and folders the caller has named.

The store names the place of an index, and a store may come from anybody. So what is secret goes to
hosts that the caller has named, in this process, and to this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from requant.adapters import registry
from requant.adapters.hosts import Host, folder_of, host_of, told_host
from requant.adapters.protocol import Capabilities
from requant.errors import InputError, UntrustedHostError
from requant.indexes.folders import is_within
from requant.store import IndexConfig

TRUSTED = "REQUANT_TRUSTED_HOSTS"

Told = Mapping[str, Mapping[str, Any]]


class Secrets:
    """Secrets by engine, for hosts that are trusted, and by host, for that one."""

    def __init__(self, told: Told | None = None, trust: Iterable[str] = ()) -> None:
        """Take what `requant.open` was told; raises InputError."""
        told = {} if told is None else told
        self._of_engine = {name: dict(told[name]) for name in told if "://" not in name}
        self._of_host = [(told_host(name), dict(told[name])) for name in told if "://" in name]
        # The one that says more comes last, and prevails.
        self._of_host.sort(key=lambda pair: (len(pair[0].path), pair[0].path))
        known = registry.names() if self._of_engine else ()
        for name in self._of_engine:
            if name not in known:
                raise InputError(
                    f"secrets= are by engine ({', '.join(known)}) or by URL (https://host:port), "
                    f"and {name[:80]!r} is neither"
                )
        named = (*_listed(trust), *_from_environment())
        self._folders = [Path(place).expanduser() for place in named if _is_folder(place)]
        self._trusted = [told_host(place) for place in named if not _is_folder(place)]

    def trust(self, config: IndexConfig) -> None:
        """Trust the host or the folder that the caller names by the arguments of an index."""
        target = _target(config, registry.load(config.engine).capabilities)
        if target is not None:
            self._trusted.append(target._replace(path=""))
        elif (folder := folder_of(config.url)) is not None:
            self._folders.append(folder)

    def covers(self, folder: Path) -> bool:
        """Whether the caller has named a folder, or one that it stands in."""
        return any(is_within(folder, known) for known in self._folders)

    def of(self, config: IndexConfig) -> dict[str, Any]:
        """Return what the engine of an index is told.

        Raises UntrustedHostError where there is something that its host is not to be told, and
        where the store itself holds such parameters: whoever wrote them there would say where the
        others go.
        """
        capabilities = registry.load(config.engine).capabilities
        stored = sorted(set(config.params) & set(capabilities.secrets))
        if stored:
            raise UntrustedHostError(
                f"the database holds {stored[0]!r} for engine {config.engine!r}, which requant "
                "never stores: it was tampered with"
            )
        by_engine, target = self._of_engine.get(config.engine, {}), _target(config, capabilities)
        if target is None:
            return dict(by_engine)
        told = [values for host, values in self._of_host if host.covers(target)]
        if told or target.loopback or any(host.covers(target) for host in self._trusted):
            return {name: value for part in (by_engine, *told) for name, value in part.items()}
        secret = [f"secrets={{{config.engine!r}: ...}}"] if by_engine else []
        secret += [
            name
            for name, schemes in capabilities.environment.items()
            if target.scheme in schemes and os.environ.get(name)
        ]
        if secret:
            raise UntrustedHostError(_untrusted(target, secret, capabilities))
        return {}


def _target(config: IndexConfig, capabilities: Capabilities) -> Host | None:
    """Return the host that an engine will talk to, None for a path or memory."""
    target = None if config.url is None else host_of(config.url)
    if target is None:
        return None
    for name, schemes in capabilities.redirects.items():
        if name in config.params and target.scheme in schemes:
            told = config.params[name]
            target = host_of(told) if isinstance(told, str) else None
            if target is None:
                raise InputError(
                    f"parameter {name} must be a URL such as https://host, not {told!r}"
                )
            return target
    return target


def _untrusted(target: Host, secret: list[str], capabilities: Capabilities) -> str:
    name = next(iter(capabilities.secrets), "api_key")
    return (
        f"{target} is named by the database alone, so {secret[0]} is not sent there: if it is "
        f"yours, pass requant.open(secrets={{'{target}': {{{name!r}: ...}}}}) or "
        f"requant.open(trust=['{target}']), or set {TRUSTED}={target}"
    )


def untrusted_folder(folder: Path) -> UntrustedHostError:
    """Return the error that says how a folder is trusted."""
    return UntrustedHostError(
        f"{folder} is named by the database alone, so no index is opened, made or removed there: "
        f"if it is yours, pass requant.open(trust=['{folder}']), or set {TRUSTED}={folder}"
    )


def _listed(trust: Iterable[Any]) -> list[Any]:
    if isinstance(trust, str | Path) or not isinstance(trust, Iterable):
        raise InputError(
            "trust must be a list of hosts and folders, as ['https://host:port', '/folder'], not "
            f"{trust!r}"
        )
    return list(trust)


def _is_folder(place: Any) -> bool:
    """Whether a whole path is meant; a host has none at its beginning."""
    return isinstance(place, str | Path) and Path(place).expanduser().is_absolute()


def _from_environment() -> list[str]:
    return os.environ.get(TRUSTED, "").replace(",", " ").split()
