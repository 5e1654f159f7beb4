"""Which cluster and which namespace a command speaks of, with kubectl's own flags."""

from typing import Annotated, Final

import typer

from forebay.cli.running.cluster import ClusterReader

_PANEL: Final = "Cluster"

ContextOption = Annotated[str, typer.Option("--context", help="Context of the kubeconfig.", rich_help_panel=_PANEL)]
KubeconfigOption = Annotated[str, typer.Option("--kubeconfig", help="The kubeconfig file.", rich_help_panel=_PANEL)]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace; the context's by default.", rich_help_panel=_PANEL)
]
EverywhereOption = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="All namespaces.", rich_help_panel=_PANEL)
]
SYSTEM_NAMESPACE: Final = "forebay-system"
SystemOption = Annotated[
    str,
    typer.Option("--system-namespace", help="Where the operator runs.", show_default=True, rich_help_panel=_PANEL),
]


def connect(kubeconfig: str, context: str, namespace: str, everywhere: bool = False) -> tuple[ClusterReader, str]:
    """The cluster, and the namespace to ask for: empty for all of them. Raises Problem."""
    cluster = ClusterReader.connect(kubeconfig, context)
    return cluster, "" if everywhere else namespace or cluster.namespace
