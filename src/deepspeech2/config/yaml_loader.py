"""Strict YAML for recipes: plain values only, each key once, decimal numbers, no aliases, no code."""

import re
from pathlib import Path
from typing import Any

import yaml

INTEGER = re.compile(r"(?:0|-?[1-9][0-9]*)$")
FLOAT = re.compile(
    r"(?:-?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
REPLACED = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")}


class _StrictLoader(yaml.SafeLoader):
    """
    Refuses aliases, a few of which can expand to gigabytes, and duplicate keys, one of which would be lost.

    Only decimal numbers are numbers, as in YAML 1.2, and `1e-3` is one. To YAML 1.1, which PyYAML reads, the speaker
    0012 is 10 (octal) and the time 12:30 is 750 (base 60).
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in REPLACED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

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


_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", INTEGER, list("-0123456789"))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


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
        hint = "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        hint = "; YAML takes spaces, no tabs" if "'\\t'" in str(error) else hint
        raise ValueError(f"{path} is not YAML: {error}{hint}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected 'key: value' lines")
    return content
