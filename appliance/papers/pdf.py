"""A document as a PDF, on one page or more of A4: the same bytes each time.

Noto Sans has the letters of all languages that are written in Latin, Greek or Cyrillic script; what it has not is
shown as a box here, and as it is on the page of the site.
"""

import logging
from collections.abc import Sequence

import fontpkg_noto_sans
from fpdf import FPDF
from fpdf.enums import MethodReturnValue, TextMode, XPos, YPos

from appliance.papers.paper import Paper

FONT_FILE = fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf"
FONT = "Noto Sans"
LINES = MethodReturnValue.LINES
MARGIN, WIDTH = 20.0, 170.0
"""In millimetres, as everything here; sizes of letters are points."""
COLUMNS = (95.0, 20.0, 25.0, 30.0)
SUMS = 80.0
TEXT, SOFT, LINE, WARNING = (26, 29, 35), (86, 93, 107), (213, 217, 224), (163, 22, 31)
BOLDER = 0.18
"""The line around letters that are to stand out."""

for _library in ("fpdf", "fontTools"):  # they would log the letters of a name that the font has not
    logging.getLogger(_library).setLevel(logging.ERROR)


def as_pdf(paper: Paper, accent: str) -> bytes:
    """``accent`` is the operator's colour: ``#1f5fbf``."""
    return bytes(_Sheet(paper, accent).output())


class _Sheet(FPDF):
    def __init__(self, paper: Paper, accent: str) -> None:
        super().__init__(format="A4")
        self._paper = paper
        self._accent = tuple(int(accent[at : at + 2], 16) for at in (1, 3, 5))
        self.set_creation_date(paper.issued_at)
        self.set_title(f"{paper.title} {paper.number}")
        self.set_author(paper.seller[0])
        self.set_lang(paper.language)
        self.set_margins(MARGIN, MARGIN)
        self.c_margin = 0.0
        self.set_auto_page_break(auto=True, margin=25)
        self.alias_nb_pages()
        self.add_font(FONT, fname=FONT_FILE)
        self.add_page()
        self._head()
        self._parties()
        self._table()
        self._sums()
        self._notes()

    def footer(self) -> None:
        self.set_y(-18)
        self._write(9, SOFT)
        text = f"{self._paper.title} {self._paper.number}"
        self.cell(WIDTH / 2, 5, text)
        self.cell(WIDTH / 2, 5, f"{self.page_no()} / {{nb}}", align="R")

    def _write(self, size: float, colour: Sequence[int] = TEXT, *, bold: bool = False) -> None:
        self.set_font(FONT, size=size)
        self.set_text_color(*colour)
        self.set_draw_color(*colour)
        self.set_line_width(BOLDER)
        self.text_mode = TextMode.FILL_STROKE if bold else TextMode.FILL

    def _head(self) -> None:
        paper = self._paper
        self.set_fill_color(*self._accent)
        self.rect(0, 0, 210, 4, style="F")
        self.set_y(MARGIN)
        self._write(24, bold=True)
        self.cell(WIDTH, 12, paper.title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        if paper.warning:
            self._write(11, WARNING, bold=True)
            self.cell(WIDTH, 7, paper.warning, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(6)

    def _parties(self) -> None:
        """Who sells on the left, numbers and days on the right, who buys below."""
        paper, top = self._paper, self.get_y()
        self._block(paper.seller)
        self.ln(7)
        self._write(9, SOFT)
        self.cell(85, 5, paper.buyer_is, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self._block(paper.buyer)
        left = self.get_y()
        self.set_y(top)
        for name, value in paper.facts:
            self.set_x(MARGIN + 90)
            self._write(9, SOFT)
            self.cell(38, 6, name)
            self._write(10)
            self.multi_cell(42, 6, value, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_y(max(left, self.get_y()) + 10)

    def _block(self, lines: Sequence[str]) -> None:
        for number, text in enumerate(lines):
            self._write(11 if number == 0 else 10, bold=number == 0)
            self.multi_cell(85, 5.4, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _heads(self) -> None:
        self._write(9, SOFT)
        heads = self._paper.heads
        for text, width in zip((heads.text, heads.quantity, heads.unit, heads.amount), COLUMNS, strict=True):
            self.cell(width, 7, text, align="L" if width == COLUMNS[0] else "R")
        self.ln(7)
        self._rule(SOFT)

    def _table(self) -> None:
        self._heads()
        for row in self._paper.rows:
            self._write(10)
            self.ln(1.5)
            text = self.multi_cell(COLUMNS[0] - 3, 5.4, row.text, align="L", dry_run=True, output=LINES)
            assert isinstance(text, list)
            if self.will_page_break(5.4 * len(text) + 3):
                self.add_page()
                self._heads()
                self._write(10)
                self.ln(1.5)
            top = self.get_y()
            self.set_x(MARGIN + COLUMNS[0])
            for value, width in zip((row.quantity, row.unit, row.amount), COLUMNS[1:], strict=True):
                self.cell(width, 5.4, value, align="R")
            self.set_xy(MARGIN, top)
            self.multi_cell(COLUMNS[0] - 3, 5.4, row.text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            self.ln(1.5)
            self._rule(LINE)

    def _sums(self) -> None:
        self.ln(3)
        *parts, whole = self._paper.sums
        if self.will_page_break(6.5 * (len(parts) + 2)):
            self.add_page()
        for name, value in parts:
            self._sum(name, value, 10)
        self.ln(1)
        self._rule(SOFT, MARGIN + WIDTH - SUMS)
        self.ln(1)
        self._sum(*whole, 12, bold=True)
        self.ln(8)

    def _sum(self, name: str, value: str, size: float, *, bold: bool = False) -> None:
        self.set_x(MARGIN + WIDTH - SUMS)
        self._write(size, bold=bold)
        self.cell(SUMS - COLUMNS[-1], 6.5, name)
        self.cell(COLUMNS[-1], 6.5, value, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _notes(self) -> None:
        for note in self._paper.notes:
            self._write(9.5)
            self.multi_cell(WIDTH, 5.4, note, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            self.ln(1.5)

    def _rule(self, colour: Sequence[int], begin: float = MARGIN) -> None:
        self.set_draw_color(*colour)
        self.set_line_width(0.2)
        self.line(begin, self.get_y(), MARGIN + WIDTH, self.get_y())
