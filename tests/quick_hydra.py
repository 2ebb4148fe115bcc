"""Hydra in a session of many compositions: each choice of config files is read and merged once.

A composition first merges the chosen files (0.15 s), then sets single values (0.01 s). The tests compose some thousand
times, mostly from the same files with other values. `remember` keeps what the first half gave, by its choices, for the
commands that run in this process too. It is Hydra's own code that does either half.
"""

import pickle
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig


class Chosen(list[ResultDefault]):
    """The chosen files in their order; `key` says what chose them."""

    key: tuple


def places(repo: Any) -> tuple[str, ...]:
    """Where a repository of config files looks, in its order."""
    return tuple(f"{source.provider}={source.path}" for source in repo.get_sources())


def remember() -> None:
    """Keep, for this process, what choices of options lead to."""
    create, merge = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list
    load = ConfigRepository.load_config
    files: dict[tuple, bytes] = {}
    lists: dict[tuple, Any] = {}
    merged: dict[tuple, bytes] = {}

    def create_defaults_list(
        repo: Any, config_name: str | None, overrides_list: Sequence[Any], prepend_hydra: bool, skip_missing: bool
    ) -> Any:
        given = [one for one in overrides_list if not one.is_sweep_override()]
        choices = [one for one in given if repo.group_exists(one.key_or_group) and not isinstance(one.value(), dict)]
        values = [one for one in given if one not in choices]
        words = tuple(one.input_line for one in choices)
        key = (config_name, words, *places(repo), prepend_hydra, skip_missing)
        if key not in lists:
            made = create(repo, config_name, choices, prepend_hydra=prepend_hydra, skip_missing=skip_missing)
            made.defaults = Chosen(made.defaults)
            made.defaults.key = key
            lists[key] = made
        return replace(lists[key], config_overrides=values)

    def compose(self: ConfigLoaderImpl, defaults: Chosen, repo: Any) -> DictConfig:
        if defaults.key not in merged:
            merged[defaults.key] = pickle.dumps(merge(self, defaults, repo), pickle.HIGHEST_PROTOCOL)
        return pickle.loads(merged[defaults.key])

    def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        key = (config_path, *places(self))
        if key not in files:
            files[key] = pickle.dumps(load(self, config_path), pickle.HIGHEST_PROTOCOL)
        return pickle.loads(files[key])

    def cache_in_front(self: CachingConfigRepository, delegate: ConfigRepository) -> None:
        self.delegate, self.cache = copy(delegate), {}  # Hydra copies deeply what `initialize_sources` replaces

    CachingConfigRepository.__init__ = cache_in_front
    ConfigRepository.load_config = load_config
    config_loader_impl.create_defaults_list = create_defaults_list
    ConfigLoaderImpl._compose_config_from_defaults_list = compose
