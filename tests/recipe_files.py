"""The configurations that recipes/ has."""

from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
# Those of adaptation are experiments, which test_experiments.py reads; home.yaml is a grammar, of test_recognition.py.
OTHERS = {*(RECIPES / "adaptation").glob("*.yaml"), RECIPES / "commands" / "home.yaml"}
YAMLS = sorted(set(RECIPES.rglob("*.yaml")) - OTHERS)
