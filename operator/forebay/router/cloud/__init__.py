"""The only way out to providers: OpenAI-compatible APIs over httpx. The cold path: clear rather than quick.

    providers        all providers of the routing table; one try of one request at one of them
    provider         one provider: connections, secrets, limits, breaker
    transport        resolve, judge every address (rules/addresses), connect to exactly those; or through a proxy
    keys             the mounted key and secret headers: rotated, hidden
    tls_files        the mounted authorities and client certificate: rotated, and what is wrong with them
    provider_answer  carries an answer: held until its first content byte, honest about a break after it
    stream_events    reads a stream: content, usage, errors, its end
    verdict          what a status means, how long Retry-After asks for
    provider_errors  how a try can fail while the client has heard nothing
    budgets          the gateway's share of budgets: reserve before a request is sent, settle once
    money_journal    what of that outlives the container
    provider_usage   tokens and money into metrics and log

What is sent and what keeps a request here is rules/portability. httpx is imported with the first provider, because a
sidecar has none.
"""

from forebay.router.cloud.provider_errors import CloudError, Refusal
from forebay.router.cloud.providers import CloudProviders, ProviderResponse

__all__ = ["CloudError", "CloudProviders", "ProviderResponse", "Refusal"]
