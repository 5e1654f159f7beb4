"""What a plan is made of: the few things the operator ever does to a cluster, each with its reason."""

from dataclasses import dataclass

from forebay.controller.cluster.kubernetes_api import Object, ObjectKind
from forebay.controller.observe.memory import ObjectKey
from forebay.resources.reasons import EventReason


@dataclass(frozen=True, slots=True)
class Regarding:
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Note:
    """One Event to be written: what happened, to what, in words."""

    regarding: Regarding
    reason: EventReason
    action: str  # what the operator did, in CamelCase
    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """Make an object as it should be; `notes` are written once that is done."""

    obj: Object
    why: str
    exists: bool
    notes: tuple[Note, ...] = ()
    about: Regarding | None = None  # whose Event it is when the API server refuses
    drift: tuple[str, ...] = ()  # paths that somebody else changed, or that the API server always rewrites

    @property
    def key(self) -> ObjectKey:
        """Kind and name of the object."""
        return self.obj["kind"], self.obj["metadata"]["name"]


@dataclass(frozen=True, slots=True)
class CreateToken:
    """Make the fleet's control token. `exists`: the Secret is there, and has none in it."""

    obj: Object
    exists: bool = False


@dataclass(frozen=True, slots=True)
class RotateToken:
    """One step of changing the fleet's control token: a patch of its Secret."""

    patch: Object
    why: str


@dataclass(frozen=True, slots=True)
class Touch:
    """Make the kubelet bring a pod its routing table now."""

    pod: str
    value: str


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write the status of a pool or policy."""

    kind: ObjectKind
    name: str
    status: Object
    why: str


@dataclass(frozen=True, slots=True)
class Say:
    """Write an Event."""

    note: Note


Action = Apply | CreateToken | RotateToken | Touch | WriteStatus | Say


@dataclass(frozen=True, slots=True)
class ActionBatch:
    """Actions about one subject, in order. After a failure the status of the subject waits for the next pass."""

    subject: str  # a pool, a policy, or empty for the fleet
    actions: tuple[Action, ...]
