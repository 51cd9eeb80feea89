"""YAML that a person wrote, read as plain values: what can't be meant is told in one sentence.

A name that stands twice in a mapping is refused, where YAML's own reader keeps the last one without a word. Must not
know what the values are for.
"""

from typing import Any, NoReturn

import yaml


class NotYaml(ValueError):
    """The text can't be read; says where (`line 3: …`) and why, in one line."""


def read_yaml(content: str | bytes) -> Any:
    """The value of the only document in `content`; None if there is none. Raises NotYaml."""
    try:
        return yaml.load(content, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        reason = error.problem if isinstance(error, _Refusal) else f"this is no YAML: {error.problem or error.context}"
        raise NotYaml(" ".join(f"{line}{reason}".split())) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NotYaml(" ".join(f"this is no YAML: {error}".split())) from None
    except RecursionError:
        raise NotYaml("this is nested too deeply") from None


class _Refusal(yaml.MarkedYAMLError):
    """YAML in form that can't be meant."""


def _refuse(node: yaml.Node, reason: str) -> NoReturn:
    raise _Refusal(problem=f"{_shown(node.value)} {reason}", problem_mark=node.start_mark)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not when values are made: what a reference brings along (`<<`) may be replaced.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode):
                if (name.tag, name.value) in seen:
                    _refuse(name, "is there twice")
                seen.add((name.tag, name.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError):
            # PyYAML's way of saying that a value is not of the type that it looks like or is marked with.
            _refuse(node, "can't be read as what it looks like; put quotes around it if it is a text")
