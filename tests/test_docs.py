"""The pages for readers: README, CONTRIBUTING, docs/."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import contextseg
from contextseg.commands.table import COMMANDS
from contextseg.papers import rows as paper_rows

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/results/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links write them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = [unquote(target) for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in target]
    for target in targets:
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page):
    text = page.read_text()
    examples = re.findall(r'^\+    main\("(\w+)"\)$', text, re.MULTILINE)  # that CONTRIBUTING adds
    written = re.findall(r"(?:^|^ {4}|`)contextseg ([a-z_]+)\b", text, re.MULTILINE)
    written += re.findall(r"\bpython src/([a-z_]+)\.py", text)
    assert {*written} <= {*COMMANDS, *examples}


def test_the_figures_name_rows_that_have_a_run_of_their_own():
    """With `backbone=` of the command line, rows that differ in it alone have one run, in the folder of the first."""
    figures = re.findall(r"`ablation=(\w+)` \| (.*) \|$", (ROOT / "docs/compare.md").read_text(), re.MULTILINE)
    assert len(figures) == 7
    for table, names in figures:
        first = {}
        for row in paper_rows.table(table)["rows"]:
            method = tuple(text for text in row["overrides"] if not text.startswith(("backbone", "neck")))
            first.setdefault(method, paper_rows.key(row["row"]))
        assert len(names.split(", ")) >= 2
        assert {name.strip("`") for name in names.split(", ")} <= {*first.values()}, table


def test_one_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == contextseg.__version__
    assert f"## [{contextseg.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture
def copy_with_examples(tmp_path):
    """A copy of the code to which the examples of CONTRIBUTING.md are applied, by `git apply`."""
    for folder in ("src", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    examples = re.findall(r"^```diff\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 4
    outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}  # of any repository
    for example in examples:
        subprocess.run(["git", "apply", "-"], input=example, text=True, check=True, cwd=tmp_path, env=outside)
    return tmp_path


USE_THEM = """
from contextseg.commands.__main__ import main
from contextseg.commands.compose import compose
from contextseg.commands.train.options import checked
from contextseg.datamodules.roads import Roads
from contextseg.engine import build
import torch

options, _ = checked(compose(["head=average", "loss=dice", "width=16"]))
network, _ = build.network(options, build.datamodule(options).classes)
image, mask = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 12, (2, 32, 32)).byte()
loss, terms = build.loss(options)(network(image), mask)
loss.backward()
assert 0 < terms["dice"] < 1 and all(weight.grad is not None for weight in network.parameters())
assert isinstance(build.datamodule(checked(compose(["data=roads"]))[0]), Roads)
main("count", ["data.train_size=2"])
"""


def test_examples_of_additions_apply(copy_with_examples):
    assert (copy_with_examples / "src/contextseg/heads/average.py").is_file()


@pytest.mark.slow
def test_examples_of_additions_work(copy_with_examples):
    path = {**os.environ, "PYTHONPATH": str(copy_with_examples / "src")}
    call = [sys.executable, "-c", USE_THEM]
    done = subprocess.run(call, env=path, cwd=copy_with_examples, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sum(int(line.split()[-1].replace(",", "")) for line in done.stdout.splitlines()) <= 2 * 128 * 128
