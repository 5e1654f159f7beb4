"""Where things are, and the addresses that exist on this machine only."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache" / "forebay")
BIN = CACHE / "bin"
STATE = Path("/var/lib/forebay-cluster")  # etcd, certificates, node files; kept by down, removed by purge
RUN = Path("/run/forebay-cluster")  # sockets, pid records; removed by down
PKI = STATE / "pki"
LOGS = STATE / "log"
KUBECONFIG = PKI / "admin.conf"

BRIDGE = "fbcluster0"
HOST_IP = "10.245.0.1"
POD_NET = "10.244.0.0/16"
SERVICE_NET = "10.96.0.0/16"
API_SERVER_IN_CLUSTER = "10.96.0.1"
API_PORT = 6443
MAX_NODES = 9

KUBERNETES = "1.34.4"  # the newest that is tested
OLDEST = "1.30.14"  # the oldest that the chart allows
IMAGE = "forebay.dev/forebay:dev"
PAUSE_IMAGE = "forebay.dev/pause:1"


def node_ip(number: int) -> str:
    """Address of node `number` (1..9) on the bridge."""
    return f"10.245.0.{number + 1}"


def pod_net(number: int) -> str:
    """Pods of node `number`."""
    return f"10.244.{number}.0/24"


def veth(number: int) -> str:
    """This machine's end of a node's link."""
    return f"fbnode{number}"
