"""A small interpreter of the part of OpenSCAD that the scripts use, on the geometry kernel.

It knows statements (calls with children, module and function definitions, assignments of ``$fn``),
expressions with numbers, lists, comprehensions and arithmetic, and fails on anything else.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from manifold3d import CrossSection, Manifold, Mesh64, OpType

_TOKEN = re.compile(r"//[^\n]*|\s+|(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)|([$A-Za-z_]\w*)|(.)")
Scope = dict[str, Any]


def interpret(text: str) -> Manifold:
    """Returns the solid that an OpenSCAD text makes."""
    return _Parser(text).program()


class _Parser:
    """Reads a program into closures: ``scope -> value`` and ``scope -> shape``."""

    def __init__(self, text: str) -> None:
        found = (m for m in _TOKEN.finditer(text) if m.lastindex)
        self.tokens = [(m.lastindex, m.group(m.lastindex)) for m in found]
        self.at = 0
        self.modules: dict[str, Callable[[Scope], Any]] = {}
        self.functions: dict[str, tuple[list[str], Callable[[Scope], Any]]] = {}

    def program(self) -> Manifold:
        scope: Scope = {}
        shapes = []
        while self.at < len(self.tokens):
            if self.skip("module"):
                name = self.name()
                self.expect("(", ")")
                self.modules[name] = self.statement()
            elif self.skip("function"):
                name, names = self.name(), []
                self.expect("(")
                while not self.skip(")"):
                    names.append(self.name())
                    self.skip(",")
                self.expect("=")
                self.functions[name] = (names, self.expression())
                self.expect(";")
            elif self.tokens[self.at + 1][1] == "=":
                name = self.name()
                self.expect("=")
                scope[name] = self.expression()(scope)
                self.expect(";")
            else:
                shapes.append(self.statement()(scope))
        assert len(shapes) == 1
        return shapes[0]

    # Tokens

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def skip(self, text: str) -> bool:
        if self.peek() != text:
            return False
        self.at += 1
        return True

    def expect(self, *texts: str) -> None:
        for text in texts:
            assert self.skip(text), f"expected {text}, got {self.tokens[self.at : self.at + 5]}"

    def name(self) -> str:
        kind, text = self.tokens[self.at]
        assert kind == 2, text
        self.at += 1
        return text

    # Statements

    def statement(self) -> Callable[[Scope], Any]:
        if self.skip("{"):
            children = []
            while not self.skip("}"):
                children.append(self.statement())
            return lambda scope: union([child(scope) for child in children])
        name = self.name()
        arguments = self.loop() if name == "for" else self.arguments()
        children = []
        if self.skip("{"):
            while not self.skip("}"):
                children.append(self.statement())
        elif not self.skip(";"):
            children.append(self.statement())
        return lambda scope: self.call(name, arguments, children, scope)

    def loop(self) -> Any:
        self.expect("(")
        name = self.name()
        self.expect("=", "[")
        start = self.expression()
        self.expect(":")
        end = self.expression()
        self.expect("]", ")")
        return name, start, end

    def arguments(self) -> list[tuple[str | None, Callable[[Scope], Any]]]:
        self.expect("(")
        found = []
        while not self.skip(")"):
            key = None
            if self.tokens[self.at][0] == 2 and self.tokens[self.at + 1][1] == "=":
                key = self.name()
                self.expect("=")
            found.append((key, self.expression()))
            self.skip(",")
        return found

    def call(self, name: str, arguments: Any, children: list[Any], scope: Scope) -> Any:
        if name == "for":
            variable, start, end = arguments
            counts = range(int(start(scope)), int(end(scope)) + 1)
            return union([child({**scope, variable: i}) for i in counts for child in children])
        if name in self.modules:
            assert not arguments
            assert not children
            return self.modules[name](scope)
        values = {key: value(scope) for key, value in arguments if key is not None}
        places = [value(scope) for key, value in arguments if key is None]
        made = [child(scope) for child in children]
        return _BUILT_IN[name](made, *places, **{"fn": scope["$fn"], **_named(values)})

    # Expressions

    def expression(self) -> Callable[[Scope], Any]:
        left = self.term()
        while self.peek() in ("+", "-"):
            plus, right = self.skip("+") or (self.skip("-") and False), None
            right = self.term()
            left = _binary(left, right, (lambda a, b: a + b) if plus else (lambda a, b: a - b))
        return left

    def term(self) -> Callable[[Scope], Any]:
        left = self.factor()
        while self.peek() in ("*", "/"):
            times = self.skip("*") or (self.skip("/") and False)
            right = self.factor()
            left = _binary(left, right, (lambda a, b: a * b) if times else (lambda a, b: a / b))
        return left

    def factor(self) -> Callable[[Scope], Any]:
        if self.skip("-"):
            inner = self.factor()
            return lambda scope: -inner(scope)
        if self.skip("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if self.skip("["):
            return self.list()
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == 1:
            return lambda scope: float(text)
        assert kind == 2, text
        if self.peek() == "(":
            arguments = self.arguments()
            return lambda scope: self.function(text, arguments, scope)
        return lambda scope: {"true": True, "false": False}.get(text) or scope[text]

    def list(self) -> Callable[[Scope], Any]:
        if self.skip("for"):
            variable, start, end = self.loop()
            local = self.arguments() if self.skip("let") else []
            item = self.expression()
            self.expect("]")

            def comprehension(scope: Scope) -> list[Any]:
                rows = []
                for i in range(int(start(scope)), int(end(scope)) + 1):
                    inner = {**scope, variable: i}
                    for key, value in local:
                        inner[key] = value(inner)
                    rows.append(item(inner))
                return rows

            return comprehension
        items = []
        while not self.skip("]"):
            items.append(self.expression())
            self.skip(",")
        return lambda scope: [item(scope) for item in items]

    def function(self, name: str, arguments: Any, scope: Scope) -> Any:
        if name == "concat":
            return [row for _, value in arguments for row in value(scope)]
        names, body = self.functions[name]
        given = {key or names[i]: value(scope) for i, (key, value) in enumerate(arguments)}
        assert set(given) == set(names)
        return body(given)


def _binary(a: Any, b: Any, operator: Callable[[Any, Any], Any]) -> Callable[[Scope], Any]:
    return lambda scope: operator(a(scope), b(scope))


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("$", ""): value for key, value in values.items()}


# Shapes


def union(shapes: list[Any]) -> Any:
    if len(shapes) == 1:
        return shapes[0]
    return type(shapes[0]).batch_boolean(shapes, OpType.Add)


def _cube(_: Any, size: list[float], fn: float) -> Manifold:
    return Manifold.cube(tuple(size))


def _cylinder(
    _: Any, h: float, fn: float, r: float = 0.0, r1: float = 0.0, r2: float = 0.0
) -> Manifold:
    return Manifold.cylinder(h, r or r1, r or r2, int(fn))


def _circle(_: Any, r: float, fn: float) -> CrossSection:
    angles = 2 * np.pi * np.arange(int(fn)) / int(fn)
    return CrossSection([r * np.stack([np.cos(angles), np.sin(angles)], 1)])


def _square(_: Any, size: list[float], center: bool, fn: float) -> CrossSection:
    return CrossSection.square(tuple(size), center)


def _polygon(_: Any, points: list[Any], fn: float) -> CrossSection:
    return CrossSection([np.array(points)])


def _polyhedron(_: Any, points: Any, faces: Any, convexity: float, fn: float) -> Manifold:
    triangles = np.array(faces, np.uint64)[:, ::-1]  # clockwise from outside in OpenSCAD
    body = Manifold(Mesh64(np.array(points, np.float64), np.ascontiguousarray(triangles)))
    assert body.volume() > 0
    return body


def _translate(children: list[Any], shift: list[float], fn: float) -> Any:
    return union(children).translate(tuple(shift))


def _linear_extrude(children: list[Any], height: float, scale: float, fn: float) -> Manifold:
    return union(children).extrude(height, scale_top=(scale, scale))


_BUILT_IN: dict[str, Callable[..., Any]] = {
    "cube": _cube,
    "cylinder": _cylinder,
    "circle": _circle,
    "square": _square,
    "polygon": _polygon,
    "polyhedron": _polyhedron,
    "translate": _translate,
    "rotate": lambda c, turn, fn: union(c).rotate(tuple(turn)),
    "scale": lambda c, factors, fn: union(c).scale(tuple(factors)),
    "mirror": lambda c, normal, fn: union(c).mirror(tuple(normal)),
    "linear_extrude": _linear_extrude,
    "rotate_extrude": lambda c, fn: union(c).revolve(int(fn)),
    "union": lambda c, fn: union(c),
    "difference": lambda c, fn: type(c[0]).batch_boolean(c, OpType.Subtract),
    "intersection": lambda c, fn: type(c[0]).batch_boolean(c, OpType.Intersect),
}
