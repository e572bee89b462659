"""HCL as data: the values of a file, without the language's expressions.

Parsed by python-hcl2. Consul's own files are written in the older HCL 1, whose shorthand inside lists is rewritten
first: `Routes = [{ Match { … } }]` stands for `Routes = [{ Match = { … } }]`.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from lark import Token, Tree

    Node = Token | Tree[Token]


class HclError(ValueError):
    """Text that is not HCL, or more than data; `line` (from 1) says where."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(reason)


class Blocks(list[dict[str, Any]]):
    """The bodies of all blocks of one name without labels (`subsets { … }`), in order.

    HCL does not say whether a block is a mapping or one of a list: whoever reads one where a mapping is meant takes
    the only element.
    """


def load_hcl(text: str) -> dict[str, Any]:
    """The attributes and blocks of `text`, names as they are written.

    An attribute (`name = value`) is its value. Blocks without labels are a `Blocks` list, also a single one. A label
    is a key: `failover "v1" { … }` and `failover "v2" { … }` together are `{"failover": {"v1": {…}, "v2": {…}}}`.
    Raises HclError for what is not HCL, for anything that has to be evaluated (references, functions, templates,
    operators), and for a name that is given twice.
    """
    import hcl2
    from lark.exceptions import UnexpectedInput

    try:
        tree = cast("Tree[Token]", hcl2.parses_to_tree(_without_shorthand(text)))
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    return _body(_child(tree, "body"))


def _syntax_error(text: str, error: Any) -> HclError:
    lines = text.splitlines() or [""]
    token = getattr(error, "token", None)
    if (token is not None and token.type == "$END") or not 1 <= error.line <= len(lines):
        return HclError(len(lines), 'the text ends too early; is a "{", "[" or quote not closed?')
    if re.match(r'\s*"[^"]*"\s*[={]', lines[error.line - 1]):
        return HclError(
            error.line, 'a quoted name cannot stand inside a block; write name = { … } around it, or name "label" { … }'
        )
    return HclError(error.line, f"cannot be read as HCL: {lines[error.line - 1].strip()[:60]}")


# --- the shorthand of HCL 1 ---

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
    |(?P<heredoc><<-?(?P<tag>[A-Za-z][\w.-]*)\r?\n.*?^[ \t]*(?P=tag)[ \t\r]*$)
    |(?P<name>[A-Za-z_][\w-]*|"(?:\\.|[^"\\\n])*")
    |(?P<mark>.)""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)


def _without_shorthand(text: str) -> str:
    """`text` with `name {` inside an object written as `name = {`; line numbers stay."""
    out: list[str] = []
    # What each open bracket encloses: the body of a block, an object, or something else.
    inside = ["body"]
    previous = ""
    for match in _TOKEN.finditer(text):
        token, kind = match[0], match.lastgroup
        if kind == "skip":
            out.append(token)
            continue
        if token == "{":
            named = previous == "name"
            if named and inside[-1] == "object":
                out.append("= ")
            inside.append("body" if named and inside[-1] == "body" else "object")
        elif token in ("[", "("):
            inside.append("other")
        elif token in ("}", "]", ")") and len(inside) > 1:
            inside.pop()
        out.append(token)
        previous = "name" if match["name"] is not None else token
    return "".join(out)


# --- the tree that python-hcl2's grammar makes ---

_IGNORED: Final = frozenset(("new_line_or_comment",))
_LITERALS: Final = {"true": True, "false": False, "null": None}
_NOT_DATA: Final = "has to be evaluated; only plain values can be read"
_SIMPLE_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:([nrt\"\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.DOTALL)


def _trees(node: "Tree[Token]") -> Iterator["Tree[Token]"]:
    for child in node.children:
        if not isinstance(child, str) and child.data not in _IGNORED:
            yield child


def _child(node: "Tree[Token]", name: str) -> "Tree[Token]":
    return next(child for child in _trees(node) if child.data == name)


def _body(body: "Tree[Token]") -> dict[str, Any]:
    out: dict[str, Any] = {}
    attributes: set[str] = set()
    for item in _trees(body):
        *names, last = _trees(item)
        path = [_name(name) for name in names]
        if path[0] in attributes or (item.data == "attribute" and path[0] in out):
            raise HclError(_line(item), f'"{path[0]}" is given twice')
        if item.data == "attribute":
            attributes.add(path[0])
            out[path[0]] = _value(last)
        else:
            _add_block(out, path, _body(last), _line(item))
    return out


def _add_block(out: dict[str, Any], path: list[str], body: dict[str, Any], line: int) -> None:
    blocks = out.setdefault(path[0], Blocks() if len(path) == 1 else {})
    if isinstance(blocks, Blocks) != (len(path) == 1):
        raise HclError(line, f'"{path[0]}" is given with and without a label')
    if isinstance(blocks, Blocks):
        blocks.append(body)
        return
    for label in path[1:-1]:
        blocks = blocks.setdefault(label, {})
    if path[-1] in blocks:
        raise HclError(line, f'the block {path[0]} "{path[-1]}" is given twice')
    blocks[path[-1]] = body


def _name(node: "Tree[Token]") -> str:
    return _string(node) if node.data == "string" else str(node.children[0])


def _value(node: "Tree[Token]") -> Any:
    if node.data == "expr_term":
        parts = list(_trees(node))
        if len(parts) == 1:
            return _value(parts[0])
    readers = {
        "string": _string,
        "int_lit": lambda node: int(str(node.children[0])),
        "float_lit": lambda node: float(str(node.children[0])),
        "literal_value": lambda node: _LITERALS[str(node.children[0])],
        "unary_op": _negative,
        "tuple": lambda node: [_value(item) for item in _trees(node)],
        "object": _object,
        "heredoc_template": _heredoc,
        "heredoc_template_trim": _heredoc,
    }
    if node.data in readers:
        return readers[node.data](node)
    if node.data == "identifier":
        raise HclError(_line(node), f'{node.children[0]} is not a value; quote it: "{node.children[0]}"')
    raise HclError(_line(node), f"an expression {_NOT_DATA}")


def _negative(node: "Tree[Token]") -> Any:
    value = _value(next(_trees(node)))
    if str(node.children[0]) != "-" or isinstance(value, bool) or not isinstance(value, int | float):
        raise HclError(_line(node), f"an expression {_NOT_DATA}")
    return -value


def _object(node: "Tree[Token]") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for element in _trees(node):
        key_node, value_node = _trees(element)
        key = _key(next(_trees(key_node)))
        if key in out:
            raise HclError(_line(element), f'"{key}" is given twice')
        out[key] = _value(value_node)
    return out


def _key(node: "Tree[Token]") -> str:
    if node.data == "expr_term":
        parts = list(_trees(node))
        if len(parts) == 1 and len(node.children) == 1:
            return _key(parts[0])
    if node.data == "string":
        return _string(node)
    if node.data in ("identifier", "keyword", "literal_value", "int_lit"):
        return str(node.children[0])
    raise HclError(_line(node), f"a key that {_NOT_DATA}")


def _string(node: "Tree[Token]") -> str:
    return "".join(_part(part.children[0], _line(node)) for part in _trees(node))


def _part(part: "Node", line: int) -> str:
    if not isinstance(part, str):
        raise HclError(line, f"a template (${{…}} or %{{…}}) {_NOT_DATA}; a literal ${{ is written $${{")
    if part.type in ("ESCAPED_INTERPOLATION", "ESCAPED_DIRECTIVE"):
        return str(part)[1:]

    def plain(escape: re.Match[str]) -> str:
        simple, short, long, unknown = escape.groups()
        if unknown is not None:
            raise HclError(line, f'"{escape[0]}" is no escape; write a backslash twice')
        try:
            return _SIMPLE_ESCAPES[simple] if simple else chr(int(short or long, 16))
        except (ValueError, OverflowError):
            raise HclError(line, f'"{escape[0]}" is no character') from None

    return _ESCAPE.sub(plain, str(part))


def _heredoc(node: "Tree[Token]") -> str:
    marker, *lines = str(node.children[0]).rstrip().splitlines()
    lines.pop()
    if any(re.search(r"(?<![$%])[$%]\{", line) for line in lines):
        raise HclError(_line(node), f"a template (${{…}} or %{{…}}) {_NOT_DATA}")
    if marker.startswith("<<-"):
        indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
        lines = [line[min(indents, default=0) :] for line in lines]
    return "".join(f"{line}\n" for line in lines).replace("$${", "${").replace("%%{", "%{")


def _line(node: "Tree[Token]") -> int:
    return getattr(node.meta, "line", 1)
