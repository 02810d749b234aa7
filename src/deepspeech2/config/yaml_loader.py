"""Strict YAML for recipes: plain values only, each key once, no aliases, no code."""

from pathlib import Path
from typing import Any

import yaml


class _StrictLoader(yaml.SafeLoader):
    """Refuses aliases, a few of which can expand to gigabytes, and duplicate keys, one of which would be lost."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(
                f"line {event.start_mark.line + 1} has the alias *{event.anchor}; write the value itself"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1} gives the key {key.value!r} again")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[Any, Any]:
    """
    Return the `key: value` pairs of a YAML file.

    Raises:
        ValueError: the file does not exist, is not UTF-8, is not YAML, holds no pairs, or has an alias, a duplicate key
            or a tag that is not a plain value.
    """
    if not path.is_file():
        raise ValueError(f"the config file {path} does not exist; expected a YAML file as the first argument")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader) or {}
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply; expected 'key: value' lines") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # the last three of a wrong `!!int`
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected 'key: value' lines")
    return content
