"""The mail about a document, with the document."""

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.letters import Site
from appliance.mail.letter import Attachment, Letter
from appliance.papers.papers import Papers
from appliance.texts import speaker
from billing.errors import NotFound


class PaperLetters:
    def __init__(self, site: Site, papers: Papers) -> None:
        self._site = site
        self._papers = papers

    async def write(self, connection: AsyncConnection, document_id: int, language: str) -> Letter | None:
        """None if there is no such document."""
        say = speaker(language)
        try:
            paper = await self._papers.paper(connection, document_id)
        except NotFound:
            return None
        named = {"title": paper.title, "number": paper.number, "service": self._site.name}
        return Letter(
            say("{service}: {title} {number}", **named),
            (say("Attached is {title} {number} of {service}.", **named),),
            (say("Receipts and invoices"), self._site.url("/documents")),
            attachments=(Attachment(paper.file_name, "application/pdf", self._papers.pdf(paper)),),
        )
