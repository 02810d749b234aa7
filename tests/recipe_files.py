"""The configurations that recipes/ has."""

from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
# Those of adaptation are experiments, which test_experiments.py reads; home.yaml and coffee.yaml are grammars.
GRAMMARS = {RECIPES / "commands" / name for name in ("home.yaml", "coffee.yaml")}
OTHERS = {*(RECIPES / "adaptation").glob("*.yaml"), *GRAMMARS}
YAMLS = sorted(set(RECIPES.rglob("*.yaml")) - OTHERS)
