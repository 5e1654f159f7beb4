"""A client's request over HTTP, as the rules read it (rules/dialect)."""

from forebay.resources.terms import TaskSource
from forebay.router.http.values import Request
from forebay.rules.dialect.parse import parse as parse_request
from forebay.rules.dialect.parsed_request import ParsedRequest


def parse(request: Request, client: str = "anonymous", task_source: str = TaskSource.ANYWHERE) -> ParsedRequest:
    """Read a request to one of the ENDPOINTS. Raises BadRequestError."""
    return parse_request(request.target, request.fields, request.body, client, task_source)
