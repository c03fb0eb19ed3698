"""A posted document, as a paper or as a PDF. Whoever shows one begins here."""

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.papers.paper import Paper, lay_out
from billing.documents import reading
from billing.documents.settled import invoice_state


class Papers:
    """``accent`` is the operator's colour: ``#1f5fbf``."""

    def __init__(self, accent: str) -> None:
        self._accent = accent

    async def paper(self, connection: AsyncConnection, document_id: int, account_id: int | None = None) -> Paper:
        """With ``account_id``, one of the account's own. Raises NotFound."""
        document = await reading.read_document(connection, document_id, account_id)
        paid = await reading.paid(connection, document.id)
        corrects = None
        if document.corrects_id is not None:
            corrects = (await reading.read_document(connection, document.corrects_id)).name
        return lay_out(document, paid, corrects, await invoice_state(connection, document.id))

    def pdf(self, paper: Paper) -> bytes:
        """Takes a tenth of a second."""
        from appliance.papers.pdf import as_pdf  # its library takes as long to load as a page to write

        return as_pdf(paper, self._accent)
