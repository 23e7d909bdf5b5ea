"""Wing: what a page is made of. `report` is the page of a dataset, `validation.board` that of a model.

`census` (a dataset counted), `charts` (inline SVG), `pages` (a template to one page that stands alone).
"""
