"""docs/recipes.md says of every key of a recipe what it is."""

import re
from dataclasses import fields

import pytest

from tests.pages import ROOT
from utils.recipes import RECIPES, Recipe

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
ROWS = {row[0].strip("`"): row[1:] for line in PAGE.splitlines() if line.startswith("| `")
        for row in [[cell.strip() for cell in line.strip("|").split("|")]]}


@pytest.mark.parametrize("key", [field.name for field in fields(Recipe)])
def test_a_key_has_its_values_and_a_paragraph(key):
    values = [getattr(recipe, key) for recipe in RECIPES.values()]
    shown = [f"{value:g}" if isinstance(value, float) else str(value).lower() for value in values]
    assert ROWS[key][:len(shown)] == shown
    assert re.search(rf"^- \*\*`{key}`\*\*", PAGE, re.MULTILINE)


def test_a_key_that_plus_changes_says_what_that_changed():
    rose, plus = RECIPES["rose"], RECIPES["plus"]
    changed = {field.name for field in fields(Recipe)
               if getattr(rose, field.name) != getattr(plus, field.name)}
    assert changed
    assert not [key for key in sorted(changed) if not ROWS[key][len(RECIPES)]]


def test_the_columns_are_the_recipes():
    assert f"| key | {' | '.join(RECIPES)} |" in PAGE
    assert ROWS.keys() == {field.name for field in fields(Recipe)}
