"""How Sphinx makes the documentation's site: `make docs` (docs/decisions/0047-documentation-and-releases.md).

The root of the sources is the repository's, so that a link is the same here and where the repository is browsed.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs/site"))

project = "Appliance"
author = "Appliance"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "folders", "transitions"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "*.egg-info", "appliance", "billing", "build", "dist", "serving", "tests", "var"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
myst_url_schemes = ["http", "https", "mailto"]
highlight_language = "none"
smartquotes = False

html_theme = "furo"
html_title = f"Appliance {release}"
html_copy_source = False
html_use_index = False
html_show_copyright = False
html_show_sphinx = False
html_extra_path = ["site/index.html"]
html_static_path = ["site/site.css"]
html_css_files = ["site.css"]
html_permalinks_icon = "#"
