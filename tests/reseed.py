"""Run a script with other seeds, and tell how far its claim is from its bound.

``python tests/reseed.py OFFSET SCRIPT`` adds OFFSET to every seed that the script sets
(``torch.manual_seed``, ``numpy.random.default_rng``, ``random.seed``, thereby Lightning's
``seed_everything``, and each ``random_state=0``, as scikit-learn has it) and rewrites
each comparison in its assertions so that both sides are noted before it is judged. The
last line printed is ``margins: `` and a JSON list of ``{"line", "test", "value",
"bound", "holds"}``; an assertion that fails is noted and does not stop the script, since
how far it fails is the question.
"""

from __future__ import annotations

import ast
import json
import os
import sys

MARGINS: list[dict] = []
SYMBOLS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}


class NoteComparisons(ast.NodeTransformer):
    """Turn ``assert a > b and c < d`` into notes of each pair that is ordered.

    Assertions without an ordering (equalities, ``all(...)``) stay as they are: they
    have no spread that could be compared with a bound. ``random_state=0`` becomes
    ``random_state=offset``.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        seed = getattr(node.value, "value", None)
        if node.arg == "random_state" and type(seed) is int:
            node.value = ast.Constant(seed + self.offset)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        parts = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
        if isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.Or):
            return node
        notes, rest = [], []
        for part in parts:
            ordered = isinstance(part, ast.Compare) and all(
                type(operator) in SYMBOLS for operator in part.ops
            )
            if not ordered:
                rest.append(ast.Assert(part, node.msg))
                continue
            sides = [part.left, *part.comparators]
            for left, operator, right in zip(sides, part.ops, sides[1:], strict=False):
                symbol = SYMBOLS[type(operator)]
                text = f"{ast.unparse(left)} {symbol} {ast.unparse(right)}"
                words = [ast.Constant(w) for w in (node.lineno, text, symbol)]
                call = ast.Call(
                    ast.Name("_note_margin", ast.Load()), [*words, left, right], []
                )
                notes.append(ast.Expr(call))
        return [ast.copy_location(n, node) for n in [*notes, *rest]]


def note_margin(line: int, test: str, symbol: str, left, right) -> None:
    """Note one comparison. The side that is a literal in ``test`` is the bound."""
    try:
        left, right = float(left), float(right)
    except (TypeError, ValueError):
        return
    # as a distance that is positive where the claim holds, whatever the direction
    distance = left - right if ">" in symbol else right - left
    holds = distance >= 0 if "=" in symbol else distance > 0
    MARGINS.append({"line": line, "test": test, "left": left, "right": right,
                    "distance": distance, "holds": holds})  # fmt: skip


def add_to_seeds(offset: int) -> None:
    """Make the functions that set a seed add ``offset`` to it."""
    import random

    import numpy
    import torch

    def shifted(function):
        def call(seed=0, *rest, **options):
            return function(
                seed + offset if isinstance(seed, int) else seed, *rest, **options
            )

        return call

    torch.manual_seed = torch.random.manual_seed = shifted(torch.manual_seed)
    numpy.random.default_rng = shifted(numpy.random.default_rng)
    numpy.random.seed = shifted(numpy.random.seed)
    random.seed = shifted(random.seed)


def main(offset: str, script: str) -> None:
    """Run ``script`` as ``__main__`` with every seed moved by ``offset``."""
    with open(script, encoding="utf-8") as file:
        tree = NoteComparisons(int(offset)).visit(ast.parse(file.read(), script))
    add_to_seeds(int(offset))
    sys.argv, sys.path[0] = [script], os.path.dirname(os.path.abspath(script))
    names = sys.modules["__main__"].__dict__
    names.update(_note_margin=note_margin, __doc__=None, __file__=script)
    try:
        exec(compile(ast.fix_missing_locations(tree), script, "exec"), names)
    finally:
        print("margins:", json.dumps(MARGINS))


if __name__ == "__main__":
    main(*sys.argv[1:])
