"""Sphinx's settings for the site; tools/site.py, which calls Sphinx, adds the title and the folders of static files."""

language = "en"
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx_copybutton"]

nb_execution_mode = "off"  # the stored outputs are shown
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.mathjax"]  # myst-parser says that it adds to mathjax3_config
mathjax_path = "tex-svg.js"
mathjax3_config = {
    "options": {"enableMenu": False},  # else each formula is a stop on the way of the Tab key
    "svg": {"scale": 0.95},
}

html_theme = "furo"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "github-dark"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#00619a",
        "color-brand-content": "#00619a",
        "color-code-background": "#f3f4f6",
    },
    "dark_css_variables": {"color-brand-primary": "#7cc4f4", "color-brand-content": "#7cc4f4"},
}
html_favicon = "static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_use_index = False
html_copy_source = False
html_show_copyright = False
copybutton_selector = "div.cell_input div.highlight pre, div.highlight-sh pre"
