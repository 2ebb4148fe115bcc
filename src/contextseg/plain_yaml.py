"""YAML that holds plain data only, and no key twice."""

from typing import Any

import yaml

SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
MERGE = "tag:yaml.org,2002:merge"  # `<<`, whose keys others may replace


class Loader(SAFE):
    """Refuse a mapping with a key that comes twice, of which YAML's loaders silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping. Raises `yaml.YAMLError` for a key that comes twice."""
        own = [key for key, _ in node.value if key.tag != MERGE]
        found = super().construct_mapping(node, deep)
        keys = [self.construct_object(key, deep=True) for key in own]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.YAMLError(f"the key {twice} comes twice, in line {node.start_mark.line + 1} and below")
        return found


def read_yaml(text: str) -> Any:
    """Read YAML. Raises `yaml.YAMLError`, in one line, whatever is wrong with it."""
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError, AttributeError) as error:
        raise yaml.YAMLError(" ".join(str(error).split())) from error  # a date that is none is a ValueError, say
