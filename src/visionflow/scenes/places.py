"""Questions about places: where an object is, what is at a place, and what the ground is there.

Rows and columns are those of the cells, counted from 1 at the top left, as in the answer "row 3, column 5".
"""

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.description import naming
from visionflow.scenes.ground import GROUNDS, ground_at
from visionflow.scenes.questions import Question
from visionflow.scenes.world import CELL, Scene, SceneObject, pick

Cell = tuple[int, int]

QUARTERS = ("top left", "top right", "bottom left", "bottom right")
_SIDES = (("left", "right"), ("top", "bottom"))
_CORNER = 3
"""Cells along a side of what is called a corner."""


def half(scene: Scene, rng: Generator) -> Question | None:
    """In which half of the picture an object is: left or right, top or bottom."""
    target = _some_object(scene, rng)
    axis = int(rng.integers(2))
    side = _side(scene, scene.objects[target], axis)
    name = naming(scene, target, rng)
    if side is None or name is None:
        return None
    text = pick(rng, phrases.HALF[axis]).format(name)
    return Question(text, _SIDES[axis][side], "half", (target,), _SIDES[axis])


def quarter(scene: Scene, rng: Generator) -> Question | None:
    """In which quarter of the picture an object is."""
    target = _some_object(scene, rng)
    across, down = (_side(scene, scene.objects[target], axis) for axis in (0, 1))
    name = naming(scene, target, rng)
    if across is None or down is None or name is None:
        return None
    text = pick(rng, phrases.QUARTER).format(name)
    return Question(text, QUARTERS[2 * down + across], "quarter", (target,), QUARTERS)


def where(scene: Scene, rng: Generator) -> Question | None:
    """Row and column of a small object."""
    target = _some_object(scene, rng)
    name = naming(scene, target, rng)
    if name is None or scene.objects[target].size != "small":
        return None
    text = pick(rng, phrases.WHERE).format(name)
    return Question(text, place(cell_of(scene.objects[target])), "where", (target,), _places(scene))


def at(scene: Scene, rng: Generator) -> Question | None:
    """Which small object or litter is in a cell, or that nothing is."""
    cell, target = _some_cell(scene, rng)
    text = pick(rng, phrases.AT).format(place(cell))
    names = {item.name for item in scene.objects} | {each.name for each in scene.litter}
    values = tuple(sorted(names | {phrases.NOTHING}))
    if target is None:
        lies = next((each.name for each in scene.litter if each.cell == cell), phrases.NOTHING)
        return Question(text, lies, "at", (), values, (cell,))
    return Question(text, scene.objects[target].name, "at", (target,), values)


def empty(scene: Scene, rng: Generator) -> Question | None:
    """Whether there is nothing in a cell."""
    cell, target = _some_cell(scene, rng)
    text = pick(rng, phrases.EMPTY).format(place(cell))
    taken = target is not None or any(each.cell == cell for each in scene.litter)
    return Question(text, "no" if taken else "yes", "empty", (), ("yes", "no"), (cell,))


def ground(scene: Scene, rng: Generator) -> Question | None:
    """The kind of ground in a corner of the picture."""
    name = pick(rng, QUARTERS)
    low, right = name.startswith("bottom"), name.endswith("right")
    rows, columns = scene.height // CELL, scene.width // CELL
    top, left = (rows - _CORNER) * low, (columns - _CORNER) * right
    cells = tuple(cell for cell in bare_cells(scene) if 0 <= cell[0] - top < _CORNER and 0 <= cell[1] - left < _CORNER)
    if not cells:
        return None
    text = pick(rng, phrases.GROUND_AT).format(name)
    return Question(text, ground_at(scene.grounds, *cells[0]), "ground", (), tuple(GROUNDS), cells)


def under(scene: Scene, rng: Generator) -> Question | None:
    """The kind of ground under a small object, with bare ground of that kind around it."""
    target = _some_object(scene, rng)
    item, name = scene.objects[target], naming(scene, target, rng)
    if name is None or item.size != "small":
        return None
    row, column = cell_of(item)
    cells = tuple(cell for cell in bare_cells(scene) if abs(cell[0] - row) <= 1 and abs(cell[1] - column) <= 1)
    kind = ground_at(scene.grounds, row, column)
    if len(cells) < 2 or any(ground_at(scene.grounds, *cell) != kind for cell in cells):
        return None
    text = pick(rng, phrases.GROUND_UNDER).format(name)
    return Question(text, kind, "under", (target,), tuple(GROUNDS), cells)


def _side(scene: Scene, item: SceneObject, axis: int) -> int | None:
    """0 in the left or upper half, 1 in the other, None where a large object lies across the middle."""
    middle = (scene.width, scene.height)[axis] / 2
    apart = (item.x, item.y)[axis] - middle
    return None if item.size == "large" and abs(apart) < CELL else int(apart > 0)


def _some_object(scene: Scene, rng: Generator) -> int:
    return int(rng.integers(len(scene.objects)))


def _some_cell(scene: Scene, rng: Generator) -> tuple[Cell, int | None]:
    """A cell and the small object in it, or one with litter or nothing and None."""
    small = [i for i, item in enumerate(scene.objects) if item.size == "small"]
    bare, strewn = bare_cells(scene), [each.cell for each in scene.litter]
    lot = rng.random()
    if small and (lot < 0.4 or not (bare or strewn)):
        target = pick(rng, small)
        return cell_of(scene.objects[target]), target
    return pick(rng, strewn if strewn and (lot < 0.6 or not bare) else bare), None


def _places(scene: Scene) -> tuple[str, ...]:
    """The places of all small objects: wrong options that are taken by something."""
    return tuple(sorted({place(cell_of(item)) for item in scene.objects if item.size == "small"}))


def cell_of(item: SceneObject) -> Cell:
    """Row and column of the cell that the object's centre is in."""
    return int(item.y // CELL), int(item.x // CELL)


def place(cell: Cell) -> str:
    """`row 3, column 5`, counted from 1."""
    return phrases.PLACE.format(cell[0] + 1, cell[1] + 1)


def bare_cells(scene: Scene) -> list[Cell]:
    """Cells that nothing stands in, not even the rim of an object."""
    rows, columns = scene.height // CELL, scene.width // CELL
    taken = {cell for sign in scene.signs for cell in sign.cells} | {each.cell for each in scene.litter}
    for item in scene.objects:
        left, top, right, bottom = (int(edge // CELL) for edge in item.box)
        taken |= {(row, column) for row in range(top, bottom + 1) for column in range(left, right + 1)}
    return [(row, column) for row in range(rows) for column in range(columns) if (row, column) not in taken]
