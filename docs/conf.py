"""Settings of the documentation site: `make docs` builds it into docs/_build/html."""

import re
import shutil
from pathlib import Path

from cyclopts import App, Parameter

import ecgtune
from ecgtune.cli.commands import COMMANDS, load

HERE = Path(__file__).parent

project = "ecgtune"
author = "The ecgtune developers"
copyright = "the ecgtune developers"
version = release = ecgtune.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build", "gallery/*.py"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
html_theme = "pydata_sphinx_theme"
html_title = "ecgtune"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "header_links_before_dropdown": 8,
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": []}
html_show_sourcelink = False
html_copy_source = False
autodoc_default_options = {"members": True}
autodoc_typehints = "none"
highlight_language = "none"
smartquotes = False  # "--" is the beginning of a flag
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
sphinx_gallery_conf = {
    "examples_dirs": "_build/examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d\d_",
    "ignore_pattern": r"__init__",
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "capture_repr": (),
    "default_thumb_file": str(HERE / "images" / "report.png"),
    "min_reported_time": 3600,
}


def write_commands() -> None:
    """The pages of the command line, one per command, generated from the program."""
    folder = HERE / "reference" / "commands"
    folder.mkdir(exist_ok=True)
    app = App(name="ecgtune", default_parameter=Parameter(negative=()), version_flags=(), help_flags=())
    for name in COMMANDS:
        app.command(load(name), name=name)
        text = app[name].generate_docs(output_format="markdown")
        text = re.sub(
            r", --(no|empty)-[\w-]+|(?<=\S) \*?\[default: (False|\(\))\]\*?", "", text
        )  # flags have no negative form
        text = re.sub(r"^## Table of Contents\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(rf"^```console\n(?={name})", "```console\necgtune ", text, flags=re.MULTILINE)
        text = text.replace(" -m sphinx", "")  # the module that runs this file
        write(folder / f"{name}.md", re.sub(r"^(#+) ", r"\1 ecgtune ", text, flags=re.MULTILINE))


def write(path: Path, text: str) -> None:
    """Write a generated page, unless it is the same: Sphinx builds again what is newer."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def name_files_of_the_repository(app, page, text) -> None:
    """Show links to files outside the documentation as their paths: the site has no copy of them."""
    base = (HERE / page).parent

    def shown(link: re.Match) -> str:
        target = (base / link[2].partition("#")[0]).resolve()
        if target.is_relative_to(HERE) and not target.is_relative_to(HERE / "_build"):
            return link[0]
        path = target.relative_to(HERE.parent)
        return link[1] if link[1].strip("`") == str(path) else f"{link[1]} (`{path}`)"

    text[0] = re.sub(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)", shown, text[0])


def copy_examples() -> None:
    """The programs of the gallery, beside which they write their runs."""
    copied = HERE / "_build" / "examples"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(HERE.parent / "examples", copied)


def setup(app) -> None:
    copy_examples()
    write_commands()
    app.connect("source-read", name_files_of_the_repository)
